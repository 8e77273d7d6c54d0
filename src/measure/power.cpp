// Power from the noncentral t distribution; sizes by bisection, because power grows with n.
#include "measure/power.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "measure/distributions.h"

namespace evolora {
namespace {

template <typename Power>
std::optional<std::size_t> smallest(Power power_at, double wanted, std::size_t most) {
  if (most < 2 || power_at(most) < wanted) return std::nullopt;
  std::size_t low = 1;
  std::size_t high = most;
  while (high - low > 1) {
    const std::size_t middle = low + (high - low) / 2;
    (power_at(middle) >= wanted ? high : low) = middle;
  }
  return high;
}

}  // namespace

double power_one_sided_t(double effect, double sd, std::size_t n, double alpha) {
  CHECK(n >= 2 && sd > 0);
  const auto count = static_cast<double>(n);
  return 1 - noncentral_t_cdf(student_t_quantile(1 - alpha, count - 1), count - 1, effect / sd * std::sqrt(count));
}

double power_tost(double difference, double margin, double sd, std::size_t n, double alpha) {
  CHECK(n >= 2 && sd > 0 && margin > 0);
  const auto count = static_cast<double>(n);
  const double df = count - 1;
  const double critical = student_t_quantile(1 - alpha, df);
  const double scale = std::sqrt(count) / sd;
  const double below_high = noncentral_t_cdf(-critical, df, (difference - margin) * scale);
  const double not_above_low = noncentral_t_cdf(critical, df, (difference + margin) * scale);
  return std::max(0.0, below_high - not_above_low);
}

std::optional<std::size_t> needed_for_t(double effect, double sd, double alpha, double power, std::size_t most) {
  if (effect <= 0) return std::nullopt;
  if (sd == 0) return 2;
  return smallest([&](std::size_t n) { return power_one_sided_t(effect, sd, n, alpha); }, power, most);
}

std::optional<std::size_t> needed_for_tost(double difference, double margin, double sd, double alpha, double power, std::size_t most) {
  if (std::abs(difference) >= margin) return std::nullopt;
  if (sd == 0) return 2;
  return smallest([&](std::size_t n) { return power_tost(difference, margin, sd, n, alpha); }, power, most);
}

}  // namespace evolora
