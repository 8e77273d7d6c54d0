// The signed-rank test (Wilcoxon 1945) with its exact distribution: a check of the t test that assumes symmetry and nothing else.
#pragma once

#include <cstddef>
#include <span>

namespace evolora {

struct SignedRank {
  std::size_t n = 0;        // observations that are not zero
  double positive_sum = 0;  // W+: sum of the ranks of |x| where x > 0; equal |x| share their mean rank
  double p = 1;             // two-sided; 1 if n == 0. Below 6 observations it cannot reach 0.05
};

// Is x symmetric around 0? Zeros are dropped (Wilcoxon's rule). Conditional on ties the distribution is exact: n^3 steps, n <= 2000.
SignedRank wilcoxon_signed_rank(std::span<const double> x);

}  // namespace evolora
