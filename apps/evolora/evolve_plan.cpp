// What all searches have in common: proposers, budgets, seeds.
#include "evolve_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve/proposers/proposers.h"
#include "measure/verdict.h"
#include "trial_settings.h"

namespace evolora {
namespace {

Result<std::vector<std::string>> proposers_of(const EvolveArguments& a) {
  std::vector<std::string> names;
  std::string rest = a.compare.empty() ? a.proposer : a.compare;
  for (std::size_t at = 0; at <= rest.size();) {
    const std::size_t end = std::min(rest.find(',', at), rest.size());
    names.push_back(rest.substr(at, end - at));
    if (names.back() != kLlmProposer) TRY(make_proposer(names.back()));
    if (std::count(names.begin(), names.end(), names.back()) > 1) {
      return Error{ErrorCode::kUsage, fmt::format("--compare: {} is named twice", names.back())};
    }
    at = end + 1;
  }
  return names;
}

Status check_range(const char* flag, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return {};
  return Error{ErrorCode::kUsage, fmt::format("{}: expected a whole number from {} to {}, got {}", flag, low, high, value)};
}

}  // namespace

Result<SearchPlan> make_search_plan(const EvolveArguments& a, const TrainFlags& flags, const std::optional<LlmInput>& llm, FileSystem& files) {
  TRY(check_range("--budget-evaluations", a.budget_evaluations, 0, 1000000));
  TRY(check_range("--islands", a.islands, 1, 100));
  TRY(check_range("--stagnation", a.stagnation, 0, 1000000));
  TRY(check_range("--pairs", a.pairs, 0, 100));
  TRY(check_range("--rows", a.rows, 0, 1 << 16));
  TRY(check_range("--confirm-pairs", a.confirm_pairs, static_cast<std::int64_t>(kFewestPairs), 1000));
  if (a.max_confirm_pairs != 0) TRY(check_range("--max-confirm-pairs (from --confirm-pairs on)", a.max_confirm_pairs, a.confirm_pairs, 1000));
  TRY(check_range("--finalists", a.finalists, 0, 100));
  if (a.seed < 0) return Error{ErrorCode::kUsage, fmt::format("--seed: expected a whole number, 0 or more, got {}", a.seed)};
  if (!(a.budget_seconds >= 0 && a.budget_seconds <= 1e9)) {
    return Error{ErrorCode::kUsage, fmt::format("--budget-seconds: expected 0 to 1e9, got {}", a.budget_seconds)};
  }
  if (!(a.target >= 0 && a.target <= 1e6)) return Error{ErrorCode::kUsage, fmt::format("--target: expected a ratio such as 1.5, got {}", a.target)};
  SearchPlan plan;
  plan.seed = static_cast<std::uint64_t>(a.seed);
  plan.proposers = TRY(proposers_of(a));
  TRY(check_llm_proposer(llm, plan.proposers));
  if (llm) {
    plan.migration_every = static_cast<int>(llm->config.search.migration_interval.value_or(plan.migration_every));
    plan.explore = llm->config.search.explore.value_or(plan.explore);
  }
  if (!a.objective.empty()) plan.objective = TRY(objective_from(a.objective));
  constexpr std::int64_t kEvaluations = 60;  // when nothing else ends a run
  plan.budget.evaluations = a.budget_evaluations == 0 && a.budget_seconds == 0 ? kEvaluations : a.budget_evaluations;
  plan.budget.seconds = a.budget_seconds;
  plan.islands = static_cast<int>(a.islands);
  plan.stagnation = a.stagnation;
  if (a.target > 0) plan.target = a.target;
  plan.finalists = a.finalists > 0 ? static_cast<std::size_t>(a.finalists) : plan.proposers.size() > 1 ? 1 : 3;
  plan.versions = built_versions();
  TRY(a.pack.empty() ? plan_recipe_search(a, flags, files, plan) : plan_pack_search(a, flags, files, plan));
  return plan;
}

}  // namespace evolora
