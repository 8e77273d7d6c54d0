// Judges the source of kernel packs for a search: the gates and pairs of SourceJudge against the pack that the search began with, and then, where the
// search has a model and data, training with the pack: one pair of short trainings with a loss check for a kernel that is faster, and the whole
// paired bench with applied proof for a finalist.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "evolve/judge.h"
#include "evolve/judge/lora_problem.h"
#include "evolve/pack/pack_change.h"
#include "evolve/recipe_judge.h"
#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

struct PackJudgeSettings {
  PackManifest manifest;  // of the start and all candidates
  int threads = 1;        // of timed calls
  int pairs = 9;          // of timed processes; a finalist gets three times as many
  std::vector<ProblemShape> shapes;
  std::vector<ProblemShape> held_out_shapes;  // of confirmations
  // Training settings and the recipe around the pack (its `baseline`, which names no pack); nothing: kernels alone.
  std::optional<RecipeJudgeSettings> training;
};
nlohmann::ordered_json pack_judge_to_json(const PackJudgeSettings& settings);
// kBadData naming source and field.
Result<PackJudgeSettings> pack_judge_from_json(const nlohmann::ordered_json& json, const std::string& source);

// folder: of the search. Kept in it: packs/ABC (candidates that were trained with, and the start, as packs that `train` takes), judge/ (libraries),
// and what the judge of recipes keeps. start: the program that everything is compared with. Errors: those of SourceJudge::create and
// make_recipe_judge; of compiling the start.
Result<std::unique_ptr<Judge>> make_pack_judge(FileSystem& files, const fs::path& folder, const PackJudgeSettings& settings, const PackSources& start,
                                               Isolation isolation, const std::atomic<bool>* stop);

}  // namespace evolora
