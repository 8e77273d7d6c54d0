// The judge of kernel packs for target mlx: parse, rules, compile, numerics, determinism, microbenchmark (time and memory), training. Compiler,
// candidate and trainings run in sandboxes; inputs, reference, clock, memory meter, losses and verdict are this side's. On CPUs only: what a GPU's
// driver needs is more than the sandbox gives, so a pack's kernel text for Metal or CUDA is compiled by nobody here.
#pragma once

#include <memory>
#include <vector>

#include "base/file_system.h"
#include "evolve/judge.h"
#include "evolve/judge/mlx/mlx_microbenchmark.h"
#include "evolve/judge/mlx/mlx_training.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

struct MlxSourceJudgeOptions {
  KernelPack start;  // the pack that is searched: its slots and files, and what candidates may change of it
  fs::path work;     // a folder of the judge's own; created. Libraries are kept in it, by digest
  Isolation isolation = Isolation::kSandbox;
  fs::path baseline;  // library of the pack that candidates are measured against
  int pairs = 5;      // of the micro-benchmark, per shape
  double call_seconds = 30;
  // Of the micro-benchmark, and of confirm()'s. Empty: SmolLM2-135M's with rank 8 and 256 and 192 rows (mlx_problem_shapes.h).
  std::vector<MlxProblemShape> shapes, held_out_shapes;
  MlxTrainingPlan training;  // without a model: no training gate
};

// A candidate stands for its sources, or the start's if it has none, with its genome as parameters; it may differ from the start in marked blocks
// only. log_speed and log_memory: MlxMicrobenchmarkResult's, means over the pack's slots. details.training: what the training gate saw, or why there
// was none. Not thread-safe; all calls from one thread.
class MlxSourceJudge : public Judge {
 public:
  // kDependency: no sandbox here (with Isolation::kSandbox), or a build without MLX; kIo.
  static Result<std::unique_ptr<MlxSourceJudge>> create(FileSystem& files, MlxSourceJudgeOptions options);

  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override;
  // Pairs of the micro-benchmark only.
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override;
  // Compiles anew; all gates with other inputs; held-out shapes, three times as many pairs. details.verdict: {"speed": ..., "memory": ...}, each
  // "better", "worse" or "no difference shown" at 95 %.
  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override;

 private:
  class Cascade;
  MlxSourceJudge(FileSystem& files, MlxSourceJudgeOptions options) : files_(files), options_(std::move(options)) {}
  Result<Judgement> run(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop, bool confirms);

  FileSystem& files_;
  MlxSourceJudgeOptions options_;
};

}  // namespace evolora
