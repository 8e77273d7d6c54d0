// Thin calls of Boost.Math. Its errors are turned off: an overflow becomes infinity, which is the right limit here.
#include "measure/distributions.h"

#include <algorithm>
#include <boost/math/distributions/non_central_t.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "base/check.h"

namespace evolora {
namespace {

using namespace boost::math::policies;
using Quiet =
    policy<domain_error<ignore_error>, pole_error<ignore_error>, overflow_error<ignore_error>, evaluation_error<ignore_error>, promote_double<false>>;
using Normal = boost::math::normal_distribution<double, Quiet>;
using StudentT = boost::math::students_t_distribution<double, Quiet>;
using NoncentralT = boost::math::non_central_t_distribution<double, Quiet>;

}  // namespace

double normal_cdf(double z) {
  if (std::isinf(z)) return z > 0 ? 1 : 0;
  return boost::math::cdf(Normal(), z);
}

double normal_quantile(double p) {
  CHECK(p > 0 && p < 1);
  return boost::math::quantile(Normal(), p);
}

double student_t_cdf(double t, double df) {
  CHECK(df > 0 && !std::isnan(t));
  if (std::isinf(t)) return t > 0 ? 1 : 0;
  return boost::math::cdf(StudentT(df), t);
}

double student_t_quantile(double p, double df) {
  CHECK(p > 0 && p < 1 && df > 0);
  return boost::math::quantile(StudentT(df), p);
}

double noncentral_t_cdf(double t, double df, double noncentrality) {
  CHECK(df > 0);
  // The series needs about noncentrality^2 terms. Where the distribution stands that far from t, the probability is 0 or 1 to fp64 anyway.
  constexpr double kFar = 40;
  if (std::isinf(t)) return t > 0 ? 1 : 0;
  if (noncentrality > kFar && t < noncentrality / 2) return 0;
  if (noncentrality < -kFar && t > noncentrality / 2) return 1;
  return std::clamp(boost::math::cdf(NoncentralT(df, noncentrality), t), 0.0, 1.0);
}

}  // namespace evolora
