// The null distribution of W+ by adding one rank after the other. Ranks are doubled, so that mean ranks of ties are whole numbers.
#include "measure/wilcoxon.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/check.h"

namespace evolora {

SignedRank wilcoxon_signed_rank(std::span<const double> x) {
  std::vector<double> values;
  for (const double value : x) {
    if (value != 0) values.push_back(value);
  }
  constexpr std::size_t kMost = 2000;  // 8 million doubled sums: more pairs than any bench runs
  CHECK(values.size() <= kMost);
  SignedRank result;
  result.n = values.size();
  if (values.empty()) return result;
  std::sort(values.begin(), values.end(), [](double a, double b) { return std::abs(a) < std::abs(b); });

  std::vector<std::size_t> doubled_ranks(values.size());
  for (std::size_t begin = 0; begin < values.size();) {
    std::size_t end = begin + 1;
    while (end < values.size() && std::abs(values[end]) == std::abs(values[begin])) ++end;
    for (std::size_t i = begin; i < end; ++i) doubled_ranks[i] = begin + 1 + end;  // 2 * mean of begin+1 .. end
    begin = end;
  }

  std::size_t total = 0;
  std::size_t positive = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    total += doubled_ranks[i];
    if (values[i] > 0) positive += doubled_ranks[i];
  }
  std::vector<double> probability(total + 1, 0.0);
  probability[0] = 1;
  std::size_t reached = 0;
  for (const std::size_t rank : doubled_ranks) {
    reached += rank;
    for (std::size_t sum = reached + 1; sum-- > 0;) {
      probability[sum] = 0.5 * (probability[sum] + (sum >= rank ? probability[sum - rank] : 0.0));
    }
  }
  double at_most = 0;
  double at_least = 0;
  for (std::size_t sum = 0; sum <= total; ++sum) {
    if (sum <= positive) at_most += probability[sum];
    if (sum >= positive) at_least += probability[sum];
  }
  result.positive_sum = static_cast<double>(positive) / 2;
  result.p = std::min(1.0, 2 * std::min(at_most, at_least));
  return result;
}

}  // namespace evolora
