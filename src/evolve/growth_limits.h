// How much more of what is not the objective a better candidate may need.
#pragma once

#include <optional>
#include <string>

#include "evolve/fitness.h"

namespace evolora {

// Shares of the baseline's: 0.5 is half as much again.
struct GrowthLimits {
  double memory = 0.5;
  double time = 0.5;
};

// One line if the candidate surely (upper_bound) needs more than is allowed: memory where speed is the objective, time where memory is. Of both,
// nothing: a front keeps every trade between them. What was not measured is not limited.
std::optional<std::string> growth_problem(Objective objective, const GrowthLimits& limits, const Judgement& judgement);
// The same for memory and for time, whatever the objective: of what is to be claimed.
std::optional<std::string> growth_problem(const GrowthLimits& limits, const Judgement& judgement);

}  // namespace evolora
