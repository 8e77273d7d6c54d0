// Bounds by Student's t.
#include "evolve/fitness.h"

#include <fmt/format.h>

#include <cmath>

#include "base/check.h"
#include "measure/distributions.h"

namespace evolora {
namespace {

constexpr double kConfidence = 0.9;

double reach(std::span<const double> logs) {
  CHECK(!logs.empty());
  const auto n = static_cast<double>(logs.size());
  if (logs.size() == 1) return student_t_quantile(kConfidence, 1) * kAssumedSd;
  return student_t_quantile(kConfidence, n - 1) * summarize(logs).sd / std::sqrt(n);
}

}  // namespace

const char* word(Objective objective) {
  switch (objective) {
    case Objective::kSpeed: return "speed";
    case Objective::kMemory: return "memory";
    case Objective::kBoth: return "both";
  }
  return "";
}

Result<Objective> objective_from(const std::string& text) {
  for (const Objective each : {Objective::kSpeed, Objective::kMemory, Objective::kBoth}) {
    if (text == word(each)) return each;
  }
  return Error{ErrorCode::kUsage, fmt::format("objective: expected speed, memory or both, got '{}'", text)};
}

double lower_bound(std::span<const double> logs) { return summarize(logs).mean - reach(logs); }
double upper_bound(std::span<const double> logs) { return summarize(logs).mean + reach(logs); }

std::optional<double> fitness_of(Objective objective, const Judgement& judgement) {
  const bool speed = objective != Objective::kMemory;
  const bool memory = objective != Objective::kSpeed;
  if (judgement.outcome != Outcome::kScored || (speed && judgement.log_speed.empty()) || (memory && judgement.log_memory.empty()))
    return std::nullopt;
  if (objective == Objective::kSpeed) return lower_bound(judgement.log_speed);
  if (objective == Objective::kMemory) return lower_bound(judgement.log_memory);
  return (lower_bound(judgement.log_speed) + lower_bound(judgement.log_memory)) / 2;
}

bool dominates(const Judgement& a, const Judgement& b) {
  const double speed = lower_bound(a.log_speed) - lower_bound(b.log_speed);
  const double memory = lower_bound(a.log_memory) - lower_bound(b.log_memory);
  return speed >= 0 && memory >= 0 && (speed > 0 || memory > 0);
}

}  // namespace evolora
