// The plan of a search of recipes, and how candidates are trained with.
#include <fmt/format.h>

#include <algorithm>

#include "base/threads.h"
#include "engine/recipe_json.h"
#include "evolve/recipe_space.h"
#include "evolve_plan.h"
#include "measure/machine_notes.h"
#include "train/request_keys.h"
#include "train/trainer.h"
#include "trial_settings.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// What the recipe decides, or would decide against it.
constexpr const char* kDecidedByRecipe[] = {"recipe", "threads", "kernels", "micro_batch_tokens", "grad_checkpoint", "memory_limit"};

// What a run without a recipe would plan.
Result<Recipe> default_recipe(const Json& common, FileSystem& files) {
  std::vector<Setting> settings;
  for (const auto& [key, value] : common.items()) settings.push_back({key, value, key, "start: ", {}});
  TrainRequest request = TRY(build_train_request(settings, {}));
  request.train = true;
  TrainObserver silent;
  const TrainPlan plan = TRY(plan_training(request, files, silent));
  return plan.recipe;
}

Result<Recipe> start_recipe(const EvolveArguments& a, const Json& common, FileSystem& files) {
  if (a.start == "plain") return plain_recipe();
  const Recipe planned = TRY(default_recipe(common, files));
  if (a.start == "default") return planned;
  const RecipeChoices choices = TRY(read_recipe(files, a.start));
  return with_choices(planned, choices);
}

}  // namespace

Result<Json> judged_training_settings(const TrainFlags& flags, FileSystem& files, const std::string& engine,
                                      const std::vector<std::string>& allowed) {
  Json common = TRY(common_trial_settings(flags, files));
  for (const char* key : kDecidedByRecipe) {
    if (common.contains(key) && std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
      return Error{ErrorCode::kUsage, fmt::format("{}: the search decides it; leave it out (a recipe to start from goes to --start)", key)};
    }
  }
  if (const Json given = common.value("engine", Json(engine)); given != engine) {
    return Error{ErrorCode::kUsage, fmt::format("engine: expected {}, which what is searched is for, got {}", engine, given.dump())};
  }
  common.erase("engine");
  common.erase("seed");
  common.erase("resume");
  // Short trials, whose every step is reported: a search makes hundreds.
  if (!common.contains("iters") && !common.contains("epochs")) common["iters"] = 8;
  if (!common.contains("steps_per_report")) common["steps_per_report"] = 1;
  if (!common.contains("val_batches")) common["val_batches"] = 0;
  return common;
}

Result<GrowthLimits> growth_limits(const EvolveArguments& a, Objective objective) {
  constexpr double kFree = 0.5;      // of what is not the objective
  constexpr double kNoWorse = 0.02;  // of an objective
  GrowthLimits limits;
  limits.memory = TRY(growth_of_flag("--memory-may-grow", a.memory_may_grow, objective == Objective::kSpeed ? kFree : kNoWorse));
  limits.time = TRY(growth_of_flag("--time-may-grow", a.time_may_grow, objective == Objective::kMemory ? kFree : kNoWorse));
  return limits;
}

Result<RecipeJudgeSettings> training_judge_settings(const EvolveArguments& a, Json common, Objective objective, FileSystem& files) {
  RecipeJudgeSettings settings;
  settings.program = TRY(own_program());
  settings.objective = objective;
  constexpr std::int64_t kPairs = 3;
  settings.pairs = static_cast<std::size_t>(a.pairs > 0 ? a.pairs : kPairs);
  settings.confirm_pairs = settings.max_confirm_pairs = static_cast<std::size_t>(a.confirm_pairs);
  settings.limits = TRY(growth_limits(a, objective));
  settings.loss_margin = TRY(share_of_flag("--loss-margin", a.loss_margin));
  settings.progress_margin = TRY(share_of_flag("--progress-margin", a.progress_margin));
  settings.model_sha256 = TRY(digest_of_files(files, common["model"].get<std::string>()));
  settings.data_sha256 = TRY(digest_of_files(files, common["data"].get<std::string>()));
  settings.versions = built_versions();
  settings.machine = machine_notes();
  settings.common = std::move(common);
  return settings;
}

Result<Genome> start_genome(const EvolveArguments& a, const Json& common, FileSystem& files, const GeneSpace& space) {
  const Recipe start = TRY(start_recipe(a, common, files));
  return genome_of(space, start);
}

Status plan_recipe_search(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, SearchPlan& plan) {
  for (const auto& [flag, given] :
       {std::pair("--kernels-only", a.kernels_only), {"--unsafe-no-sandbox", a.unsafe_no_sandbox}, {"--rows", a.rows != 0}}) {
    if (given) return Error{ErrorCode::kUsage, fmt::format("{}: expected a kernel pack to search with --pack as well", flag)};
  }
  Json common = TRY(judged_training_settings(flags, files, "fused", {}));
  const int max_threads = available_cpus();
  GeneSpace space = recipe_space(max_threads, a.kernel_genes ? KernelGenes::kSlots : KernelGenes::kNone);
  plan.start.genome = TRY(start_genome(a, common, files, space));
  if (a.keep_arithmetic) keep_values(space, inexact_recipe_genes(), plan.start.genome);
  RecipeJudgeSettings judge = TRY(training_judge_settings(a, std::move(common), plan.objective, files));
  judge.baseline = recipe_json_of(plan.start.genome);
  constexpr std::size_t kMoreConfirming = 4;
  judge.max_confirm_pairs =
      a.max_confirm_pairs > 0 ? static_cast<std::size_t>(a.max_confirm_pairs) : std::min<std::size_t>(kMoreConfirming * judge.confirm_pairs, 1000);
  plan.confirm_looks = static_cast<int>(confirm_looks(judge).size());
  plan.judge = recipe_judge_to_json(judge);
  plan.judge["max_threads"] = max_threads;
  plan.judge["kernel_genes"] = a.kernel_genes;
  plan.judge["keep_arithmetic"] = a.keep_arithmetic;
  plan.space = space_to_json(space);
  plan.inexact_genes = inexact_recipe_genes();
  return {};
}

}  // namespace evolora
