// Two-pass means and variances, t statistics, and their p-values.
#include "measure/estimators.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "measure/distributions.h"

namespace evolora {
namespace {

double mean_of(std::span<const double> x) { return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size()); }

double variance_of(std::span<const double> x, double mean) {
  if (x.size() < 2) return 0;
  double squares = 0;
  double rest = 0;  // would be 0 in exact arithmetic: takes out what rounding of the mean adds
  for (const double value : x) {
    squares += (value - mean) * (value - mean);
    rest += value - mean;
  }
  const auto n = static_cast<double>(x.size());
  return std::max(0.0, (squares - rest * rest / n) / (n - 1));
}

void fill_t(TTest& test, double hypothesis, double confidence) {
  const double distance = test.mean - hypothesis;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (test.standard_error > 0) {
    test.t = distance / test.standard_error;
  } else {
    test.t = distance == 0 ? 0 : std::copysign(kInfinity, distance);
  }
  test.p_greater = student_t_cdf(-test.t, test.df);
  test.p_less = student_t_cdf(test.t, test.df);
  test.p = std::min(1.0, 2 * std::min(test.p_greater, test.p_less));
  const double reach = student_t_quantile(0.5 + confidence / 2, test.df) * test.standard_error;
  test.interval = {test.mean - reach, test.mean + reach};
}

}  // namespace

Summary summarize(std::span<const double> x, double confidence) {
  CHECK(!x.empty());
  Summary summary;
  summary.n = x.size();
  summary.mean = mean_of(x);
  summary.sd = std::sqrt(variance_of(x, summary.mean));
  summary.min = *std::min_element(x.begin(), x.end());
  summary.max = *std::max_element(x.begin(), x.end());
  summary.interval = x.size() < 2 ? Interval{summary.mean, summary.mean} : one_sample_t(x, 0, confidence).interval;
  return summary;
}

TTest one_sample_t(std::span<const double> x, double hypothesis, double confidence) {
  CHECK(x.size() >= 2);
  TTest test;
  const auto n = static_cast<double>(x.size());
  test.mean = mean_of(x);
  test.sd = std::sqrt(variance_of(x, test.mean));
  test.standard_error = test.sd / std::sqrt(n);
  test.df = n - 1;
  fill_t(test, hypothesis, confidence);
  return test;
}

TTest welch_t(std::span<const double> a, std::span<const double> b, double confidence) {
  CHECK(a.size() >= 2 && b.size() >= 2);
  const auto na = static_cast<double>(a.size());
  const auto nb = static_cast<double>(b.size());
  const double mean_a = mean_of(a);
  const double mean_b = mean_of(b);
  const double va = variance_of(a, mean_a) / na;
  const double vb = variance_of(b, mean_b) / nb;
  TTest test;
  test.mean = mean_a - mean_b;
  test.standard_error = std::sqrt(va + vb);
  test.df = va + vb > 0 ? (va + vb) * (va + vb) / (va * va / (na - 1) + vb * vb / (nb - 1)) : na + nb - 2;
  fill_t(test, 0, confidence);
  return test;
}

Equivalence tost(std::span<const double> x, double low, double high, double alpha) {
  CHECK(low < high);
  const TTest above_low = one_sample_t(x, low, 1 - 2 * alpha);
  const TTest below_high = one_sample_t(x, high, 1 - 2 * alpha);
  Equivalence result;
  result.mean = above_low.mean;
  result.p = std::max(above_low.p_greater, below_high.p_less);
  result.interval = above_low.interval;
  result.equivalent = result.p <= alpha;
  return result;
}

std::vector<double> holm_adjusted(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] < p[b]; });
  std::vector<double> adjusted(p.size());
  double largest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    const auto left = static_cast<double>(order.size() - rank);
    largest = std::max(largest, std::min(1.0, left * p[order[rank]]));
    adjusted[order[rank]] = largest;
  }
  return adjusted;
}

std::vector<double> log_ratios(std::span<const double> a, std::span<const double> b) {
  CHECK(a.size() == b.size());
  std::vector<double> out(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i] > 0 && b[i] > 0);
    out[i] = std::log(a[i] / b[i]);
  }
  return out;
}

}  // namespace evolora
