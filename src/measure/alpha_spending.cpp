// The density of the running sum between the boundaries, carried from look to look on a grid.
#include "measure/alpha_spending.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numbers>

#include "base/check.h"
#include "measure/distributions.h"

namespace evolora {
namespace {

double normal_density(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi); }

// Points and weights (Simpson) times density of the sum S = Z sqrt(t) that has not crossed yet.
struct Continuing {
  std::vector<double> point;
  std::vector<double> mass;
};

// 400 panels over a range of at most 16 standard deviations: Simpson's error is far below the 1e-6 that is promised.
constexpr std::size_t kPanels = 400;
// Beyond 8 standard deviations nothing is left.
constexpr double kReach = 8;

template <typename Density>
Continuing between(double edge, Density density) {
  Continuing out;
  const double step = 2 * edge / kPanels;
  for (std::size_t i = 0; i <= kPanels; ++i) {
    const double s = -edge + static_cast<double>(i) * step;
    const double weight = (i == 0 || i == kPanels ? 1.0 : i % 2 == 1 ? 4.0 : 2.0) * step / 3;
    out.point.push_back(s);
    out.mass.push_back(weight * density(s));
  }
  return out;
}

}  // namespace

double obrien_fleming_spent(double alpha, double t) {
  CHECK(alpha > 0 && alpha < 1 && t > 0);
  if (t >= 1) return alpha;
  return std::min(alpha, 4 * normal_cdf(-normal_quantile(1 - alpha / 4) / std::sqrt(t)));
}

double pocock_spent(double alpha, double t) {
  CHECK(alpha > 0 && alpha < 1 && t > 0);
  return std::min(alpha, alpha * std::log1p((std::numbers::e - 1) * t));
}

std::vector<double> spending_levels(double alpha, std::span<const double> fractions, Spending spending) {
  std::vector<double> levels;
  Continuing state{{0.0}, {1.0}};
  double before = 0;
  double spent = 0;
  for (const double t : fractions) {
    CHECK(t > before && t <= 1);
    const double to_spend = spending(alpha, t) - spent;
    const double spread = std::sqrt(t - before);
    const auto crossing = [&](double z) {
      const double edge = z * std::sqrt(t);
      double sum = 0;
      for (std::size_t i = 0; i < state.point.size(); ++i) {
        sum += state.mass[i] * (normal_cdf((state.point[i] - edge) / spread) + normal_cdf((-edge - state.point[i]) / spread));
      }
      return sum;
    };
    double low = 0;
    double high = kReach;
    for (int i = 0; i < 60; ++i) {  // 8 / 2^60: to the last bit
      const double middle = (low + high) / 2;
      (crossing(middle) > to_spend ? low : high) = middle;
    }
    const double z = (low + high) / 2;
    levels.push_back(2 * normal_cdf(-z));
    const auto density = [&](double s) {
      double sum = 0;
      for (std::size_t i = 0; i < state.point.size(); ++i) sum += state.mass[i] * normal_density((s - state.point[i]) / spread) / spread;
      return sum;
    };
    state = between(std::min(z, kReach) * std::sqrt(t), density);
    spent += to_spend;
    before = t;
  }
  return levels;
}

}  // namespace evolora
