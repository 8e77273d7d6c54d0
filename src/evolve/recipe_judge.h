// Judges recipes by training with them: pairs of fresh processes, baseline and candidate, same seed and data, order drawn per pair, clock and memory
// meter of the parent. Cascade: parse -> training (the first pair: it ends, did what it says, the loss is the baseline's within a margin) -> bench
// (more pairs, stopped early once it is surely worse than the best so far). The search half of the data only; confirm trains on the other half, in
// batches of another size, with other seeds, as a whole paired bench that `evolora bench --verify` can compute again.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/file_system.h"
#include "evolve/fitness.h"
#include "evolve/growth_limits.h"
#include "evolve/judge.h"
#include "measure/bench_plan.h"
#include "measure/trial_runner.h"

namespace evolora {

struct RecipeJudgeSettings {
  nlohmann::ordered_json common = nlohmann::ordered_json::object();    // training settings of both arms, with model and data
  nlohmann::ordered_json baseline = nlohmann::ordered_json::object();  // the recipe that is compared with
  std::string program;                                                 // evolora
  Objective objective = Objective::kSpeed;
  std::size_t pairs = 3;               // of a judging; the first is the training gate
  std::size_t again_pairs = 2;         // of a re-measurement
  std::size_t confirm_pairs = 10;      // after which a confirmation is looked at for the first time
  std::size_t max_confirm_pairs = 10;  // to which one goes on that is not decided and still can be
  GrowthLimits limits;  // candidates that surely need more memory are rejected when speed is wanted, more time when memory is; neither is confirmed
  double loss_margin = 0.01;
  double progress_margin = 0.01;
  double timeout_seconds = 0;  // of a trial; 0: ten times the slowest baseline so far, at least 30 s; an hour before one is known
  std::string model_sha256;
  std::string data_sha256;
  nlohmann::ordered_json versions = nlohmann::ordered_json::object();
  nlohmann::ordered_json machine = nlohmann::ordered_json::object();
};
nlohmann::ordered_json recipe_judge_to_json(const RecipeJudgeSettings& settings);
// kBadData naming source and field.
Result<RecipeJudgeSettings> recipe_judge_from_json(const nlohmann::ordered_json& json, const std::string& source);

// How long a trial may take that is judged by these settings, when the slowest baseline so far took slowest_baseline seconds; 0: none has ended.
double trial_seconds_limit(const RecipeJudgeSettings& settings, double slowest_baseline);
// The pairs after which a confirmation is looked at: confirm_pairs, then twice as many each, up to max_confirm_pairs.
std::vector<std::size_t> confirm_looks(const RecipeJudgeSettings& settings);
// Of confirmations: another than the search's.
std::int64_t confirm_batch_size(const nlohmann::ordered_json& common);
// Writes the halves of the data to folder/data (data_halves.h). kBadData if model or data are not what the settings say, or a half is too small for a
// batch.
Status prepare_training_data(FileSystem& files, const fs::path& folder, const RecipeJudgeSettings& settings);

// How candidates that are more than a genome train.
struct CandidateTraining {
  // Its recipe. Empty: recipe_json_of (evolve/recipe_space.h) its genome.
  std::function<Result<nlohmann::ordered_json>(const Candidate&)> recipe_of;
  TrialLauncher* launcher = nullptr;  // of all trials, also the baseline's; null: directly. Outlives the judge
};

// folder: of the search; data halves, the confirmations' benches and the trial that runs now are kept in it. files outlives the judge. Errors: those
// of prepare_training_data.
Result<std::unique_ptr<Judge>> make_recipe_judge(FileSystem& files, const fs::path& folder, const RecipeJudgeSettings& settings,
                                                 CandidateTraining training = {});

}  // namespace evolora
