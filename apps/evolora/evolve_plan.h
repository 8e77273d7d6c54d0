// From flags to the plan of a search: of recipes, or of the source of a kernel pack.
#pragma once

#include <optional>
#include <string>

#include "evolve/growth_limits.h"
#include "evolve/recipe_judge.h"
#include "evolve/search_plan.h"
#include "evolve_llm.h"
#include "train_flags.h"

namespace evolora {

struct EvolveArguments {
  std::string out = "evolve";
  std::string start = "default";
  std::string proposer = "evolution";
  std::string compare;
  std::string objective;  // empty: what is usual for the subject
  std::int64_t budget_evaluations = 0;
  double budget_seconds = 0;
  std::int64_t seed = 0;
  std::int64_t islands = 2;
  std::int64_t stagnation = 0;
  double target = 0;
  std::int64_t pairs = 0;  // 0: what is usual for the subject
  std::int64_t confirm_pairs = 10;
  std::int64_t max_confirm_pairs = 0;  // 0: what is usual for the subject
  std::int64_t finalists = 0;
  std::string memory_may_grow;
  std::string time_may_grow;
  std::string loss_margin = "1%";
  std::string progress_margin = "1%";
  LlmFlags llm;
  std::string pack;
  std::int64_t rows = 0;  // 0: what is usual
  bool kernels_only = false;
  bool unsafe_no_sandbox = false;
  bool kernel_genes = false;
  bool keep_arithmetic = false;
  bool resume = false;
  bool json = false;
};

// Errors: kUsage naming the flag; those of model, data, pack and start.
Result<SearchPlan> make_search_plan(const EvolveArguments& a, const TrainFlags& flags, const std::optional<LlmInput>& llm, FileSystem& files);

// Of the two kinds, for make_search_plan: fills start, judge and space of a plan that has everything else.
Status plan_recipe_search(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, SearchPlan& plan);
Status plan_pack_search(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, SearchPlan& plan);

// Short trainings for judging, by this engine ("fused", "mlx"): the flags' settings without what the search or the recipe decides, but for `allowed`.
// kUsage naming the key.
Result<nlohmann::ordered_json> judged_training_settings(const TrainFlags& flags, FileSystem& files, const std::string& engine,
                                                        const std::vector<std::string>& allowed);
// Of --memory-may-grow and --time-may-grow.
Result<GrowthLimits> growth_limits(const EvolveArguments& a, Objective objective);
// The recipe of --start, as a genome's JSON with at most so many threads.
Result<Genome> start_genome(const EvolveArguments& a, const nlohmann::ordered_json& common, FileSystem& files, const GeneSpace& space);
// pairs: of a judging.
Result<RecipeJudgeSettings> training_judge_settings(const EvolveArguments& a, nlohmann::ordered_json common, Objective objective, FileSystem& files);

}  // namespace evolora
