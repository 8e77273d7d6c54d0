// What a candidate is worth: a lower confidence bound, so that luck and few measurements are worth less. Pure functions.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "evolve/judge.h"

namespace evolora {

enum class Objective {
  kSpeed,
  kMemory,
  kBoth,  // a Pareto front; where one number is needed, the mean of both bounds
};
const char* word(Objective objective);  // "speed", "memory", "both"
// kUsage naming the known ones.
Result<Objective> objective_from(const std::string& text);

// Bounds of the mean of log ratios at 90 %, one-sided (Student's t): the mean is below, or above, with a chance of 10 %. One measurement says nothing
// about the spread, so it gets that of a noisy machine: kAssumedSd with one degree of freedom. n >= 1.
inline constexpr double kAssumedSd = 0.02;
double lower_bound(std::span<const double> logs);
double upper_bound(std::span<const double> logs);

// Nothing for what was not scored or lacks a measurement that the objective needs: kernels have no memory of their own.
std::optional<double> fitness_of(Objective objective, const Judgement& judgement);

// Better in one of speed and memory by its lower bound and not worse in the other. Both must have a fitness.
bool dominates(const Judgement& a, const Judgement& b);

}  // namespace evolora
