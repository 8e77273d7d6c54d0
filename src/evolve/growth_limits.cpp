// Upper bounds against limits.
#include "evolve/growth_limits.h"

#include <fmt/format.h>

#include <cmath>

namespace evolora {
namespace {

std::optional<std::string> too_much(const std::vector<double>& logs, double limit, const char* what) {
  if (logs.empty() || upper_bound(logs) >= -std::log1p(limit)) return std::nullopt;
  return fmt::format("{:.3g} x the {} of the baseline, at most {:.3g} x is allowed", std::exp(-summarize(logs).mean), what, 1 + limit);
}

}  // namespace

std::optional<std::string> growth_problem(Objective objective, const GrowthLimits& limits, const Judgement& judgement) {
  switch (objective) {
    case Objective::kSpeed: return too_much(judgement.log_memory, limits.memory, "memory");
    case Objective::kMemory: return too_much(judgement.log_speed, limits.time, "time");
    case Objective::kBoth: break;
  }
  return std::nullopt;
}

std::optional<std::string> growth_problem(const GrowthLimits& limits, const Judgement& judgement) {
  if (auto memory = too_much(judgement.log_memory, limits.memory, "memory")) return memory;
  return too_much(judgement.log_speed, limits.time, "time");
}

}  // namespace evolora
