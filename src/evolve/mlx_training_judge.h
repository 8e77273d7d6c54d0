// Judges packs on MLX by training with them, where recipe_judge.h does so for the fused engine: whole runs of the MLX engine in sandboxes, baseline
// and candidate with the same seed and data. A gate and no contest: what it refuses is another loss, and in a confirmation surely more time or memory
// than is allowed; that the run as a whole gains is not asked, because short trainings on a CPU are mostly not linears.
//
// Why not that judge: a pack is in the memory of the process that it trains in, and what that process says of its losses could be the pack's. Here
// nothing it says counts (mlx_training.h): the loss is computed from its adapter, by a process without a pack.
#pragma once

#include <functional>
#include <memory>

#include "base/file_system.h"
#include "evolve/judge.h"
#include "evolve/recipe_judge.h"
#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

// Settings for adapters of the MLX engine: common, pairs (of a judging), confirm_pairs, margins, limits, digests; the others are the fused engine's.
struct MlxTrainingJudgeOptions {
  RecipeJudgeSettings settings;
  PackManifest manifest;                                      // of baseline and candidates
  fs::path baseline;                                          // library
  std::function<Result<fs::path>(const Candidate&)> library;  // of a candidate that was compiled already
  Isolation isolation = Isolation::kSandbox;
};

// folder: of the search; data halves and the trainings that run now are kept in it. files outlives the judge. log_speed and log_memory: of whole
// processes. details.verdict.gates: TOST of losses and of how far they fell (measure/verdict.h), of a confirmation. Errors: those of
// prepare_training_data and run_mlx_training; kDependency: a build without MLX.
Result<std::unique_ptr<Judge>> make_mlx_training_judge(FileSystem& files, const fs::path& folder, MlxTrainingJudgeOptions options);

}  // namespace evolora
