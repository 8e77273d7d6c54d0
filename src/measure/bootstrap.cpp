// Resampling and the two corrections.
#include "measure/bootstrap.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"
#include "base/philox.h"
#include "measure/distributions.h"

namespace evolora {
namespace {

// Linear interpolation between order statistics (Hyndman & Fan's type 7).
double quantile_of_sorted(std::span<const double> sorted, double p) {
  const double position = std::clamp(p, 0.0, 1.0) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (position - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// From leaving out one observation after the other. For a mean, that shifts it by (mean - x) / (n - 1).
double acceleration(std::span<const double> x, double mean) {
  double squares = 0;
  double cubes = 0;
  for (const double value : x) {
    const double influence = value - mean;
    squares += influence * influence;
    cubes += influence * influence * influence;
  }
  return squares > 0 ? cubes / (6 * std::pow(squares, 1.5)) : 0;
}

}  // namespace

std::vector<double> bootstrap_means(std::span<const double> x, std::size_t resamples, std::uint64_t seed) {
  CHECK(!x.empty());
  std::vector<double> means(resamples);
  std::uint64_t draw = 0;
  for (double& mean : means) {
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i, ++draw) {
      // 32 random bits times n, upper half: the bias of n / 2^32 is far below what any number of resamples shows.
      const std::uint64_t bits = philox4x32(draw / 4, seed)[draw % 4];
      sum += x[static_cast<std::size_t>((bits * x.size()) >> 32)];
    }
    mean = sum / static_cast<double>(x.size());
  }
  return means;
}

Interval bca_interval(std::span<const double> x, std::span<const double> distribution, double confidence) {
  CHECK(x.size() >= 2 && !distribution.empty());
  const double mean = std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
  std::vector<double> sorted(distribution.begin(), distribution.end());
  std::sort(sorted.begin(), sorted.end());
  if (sorted.front() == sorted.back()) return {mean, mean};
  const auto below = static_cast<double>(std::lower_bound(sorted.begin(), sorted.end(), mean) - sorted.begin());
  const auto not_above = static_cast<double>(std::upper_bound(sorted.begin(), sorted.end(), mean) - sorted.begin());
  const auto count = static_cast<double>(sorted.size());
  // A distribution wholly on one side of the mean says nothing finite about its bias; half an observation is the usual stand-in.
  const double share = std::clamp((below + not_above) / (2 * count), 0.5 / count, 1 - 0.5 / count);
  const double bias = normal_quantile(share);
  const double a = acceleration(x, mean);
  const auto corrected = [&](double z) { return normal_cdf(bias + (bias + z) / (1 - a * (bias + z))); };
  const double z = normal_quantile(0.5 + confidence / 2);
  return {quantile_of_sorted(sorted, corrected(-z)), quantile_of_sorted(sorted, corrected(z))};
}

}  // namespace evolora
