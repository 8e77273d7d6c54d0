// What other programs' searches are told: ratios for what was scored, no number for anything else.
#include "evolve/judge_answer.h"

#include <gtest/gtest.h>

#include <cmath>

namespace evolora {
namespace {

TEST(JudgeAnswer, AScoredCandidateHasRatios) {
  const Judgement judgement = {
      .outcome = Outcome::kScored, .gate = "bench", .log_speed = {std::log(2.0), std::log(8.0)}, .log_memory = {std::log(0.5)}, .seconds = 3};
  const auto answer = judge_answer(judgement, std::log(1.5));
  EXPECT_EQ(answer["outcome"], "scored");
  // exp and log are each within an ulp or so, and the mean adds one rounding of a number below 2.
  constexpr double kTolerance = 8 * std::numeric_limits<double>::epsilon();
  EXPECT_NEAR(answer["combined_score"].get<double>(), 1.5, 1.5 * kTolerance);
  EXPECT_NEAR(answer["speedup"].get<double>(), 4.0, 4.0 * kTolerance);
  EXPECT_NEAR(answer["memory_saving"].get<double>(), 0.5, 0.5 * kTolerance);
  EXPECT_EQ(answer["pairs"], 2);
}

TEST(JudgeAnswer, WhatWasNotScoredHasNoNumberEvenWithMeasurements) {
  for (const Outcome outcome : {Outcome::kRejected, Outcome::kInconclusive, Outcome::kQuarantined}) {
    const Judgement judgement = {.outcome = outcome, .gate = "microbenchmark", .reason = "why", .log_speed = {3.0}};
    for (const std::optional<double> fitness : {std::optional<double>(), std::optional<double>(2.0)}) {
      const auto answer = judge_answer(judgement, fitness);
      for (const char* key : {"combined_score", "speedup", "memory_saving"}) EXPECT_FALSE(answer.contains(key)) << key;
      EXPECT_EQ(answer["reason"], "why");
    }
  }
}

TEST(JudgeAnswer, EveryHonestScoreIsFiniteAndAboveZero) {
  for (const double fitness : {-1e300, -800.0, -745.0, 0.0, 710.0, 1e300}) {
    const double score = judge_answer({.outcome = Outcome::kScored, .log_speed = {fitness}}, fitness)["combined_score"];
    EXPECT_GT(score, 0) << fitness;
    EXPECT_TRUE(std::isfinite(score)) << fitness;
  }
}

}  // namespace
}  // namespace evolora
