// Which figure is limited by which objective, and how sure an excess must be.
#include "evolve/growth_limits.h"

#include <gtest/gtest.h>

#include <cmath>

namespace evolora {
namespace {

Judgement measured(double speed, double memory) {
  const auto around = [](double ratio) { return std::vector<double>{std::log(ratio) - 0.001, std::log(ratio), std::log(ratio) + 0.001}; };
  return {.outcome = Outcome::kScored, .log_speed = around(speed), .log_memory = around(memory)};
}

TEST(GrowthLimits, TheOtherFigureIsLimitedAndOfAFrontNone) {
  const GrowthLimits limits{.memory = 0.2, .time = 0.4};
  const Judgement large = measured(2, 1 / 1.3), slow = measured(1 / 1.5, 2);
  EXPECT_EQ(growth_problem(Objective::kSpeed, limits, large).value_or(""), "1.3 x the memory of the baseline, at most 1.2 x is allowed");
  EXPECT_EQ(growth_problem(Objective::kMemory, limits, slow).value_or(""), "1.5 x the time of the baseline, at most 1.4 x is allowed");
  EXPECT_FALSE(growth_problem(Objective::kMemory, limits, large));
  EXPECT_FALSE(growth_problem(Objective::kSpeed, limits, slow));
  for (const Judgement& each : {large, slow}) {
    EXPECT_FALSE(growth_problem(Objective::kBoth, limits, each));
    EXPECT_TRUE(growth_problem(limits, each)) << "a claim holds to both";
  }
  EXPECT_FALSE(growth_problem(limits, measured(1 / 1.3, 1 / 1.1)));
}

TEST(GrowthLimits, WhatMayBeNoiseOrWasNotMeasuredIsNoProblem) {
  const GrowthLimits limits{.memory = 0, .time = 0};
  Judgement noisy = measured(1, 1);
  noisy.log_memory = {-0.3, 0.2};
  EXPECT_FALSE(growth_problem(limits, noisy));
  noisy.log_memory.clear();
  EXPECT_FALSE(growth_problem(Objective::kSpeed, limits, noisy));
}

}  // namespace
}  // namespace evolora
