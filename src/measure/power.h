// How likely a test is to find what is there, and how many observations that takes. Pure functions.
#pragma once

#include <cstddef>
#include <optional>

namespace evolora {

// The chance that a one-sided t test of n >= 2 differences at level alpha finds a true mean `effect` (above 0) with standard deviation sd > 0. Exact
// (noncentral t).
double power_one_sided_t(double effect, double sd, std::size_t n, double alpha);

// The chance that TOST with margins +-margin at level alpha succeeds when the true mean is `difference`. Noncentral-t approximation, which is
// a little low for small n (Phillips 1990); never below 0.
double power_tost(double difference, double margin, double sd, std::size_t n, double alpha);

// Smallest n with at least `power`, or nothing if `most` are not enough. sd == 0 needs 2.
std::optional<std::size_t> needed_for_t(double effect, double sd, double alpha, double power, std::size_t most);
std::optional<std::size_t> needed_for_tost(double difference, double margin, double sd, double alpha, double power, std::size_t most);

}  // namespace evolora
