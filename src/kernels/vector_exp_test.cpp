// vector_exp and vector_exp2 within 2 ulp of libm's double results over their whole range, for every SIMD target.
#include <algorithm>

#include "kernels/kernel_test_support.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/vector_exp_test.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "kernels/vector_exp-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {

void exp_of(const float* x, float* y, std::size_t n) {
  const hn::ScalableTag<float> d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) hn::StoreU(vector_exp(d, hn::LoadU(d, x + i)), d, y + i);
}
void exp2_of(const float* x, float* y, std::size_t n) {
  const hn::ScalableTag<float> d;
  for (std::size_t i = 0; i < n; i += hn::Lanes(d)) hn::StoreU(vector_exp2(d, hn::LoadU(d, x + i)), d, y + i);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {
namespace {

HWY_EXPORT(exp_of);
HWY_EXPORT(exp2_of);

double error_ulp(double actual, double expected) { return std::abs(actual - expected) / std::ldexp(1.0, std::ilogb(expected) - 23); }

// 2^20 points evenly over [low, high].
testing_support::Buffer grid(double low, double high) {
  testing_support::Buffer x(std::size_t{1} << 20);
  for (std::size_t i = 0; i < x.size(); ++i)
    x[i] = static_cast<float>(low + (high - low) * static_cast<double>(i) / static_cast<double>(x.size() - 1));
  return x;
}

TEST(VectorExp, WithinTwoUlp) {
  const testing_support::Buffer natural = grid(-87.336, 88.0);
  const testing_support::Buffer binary = grid(-126.0, 127.0);
  testing_support::for_each_target_and_thread_count([&](int) {
    testing_support::Buffer y(natural.size());
    HWY_DYNAMIC_DISPATCH(exp_of)(natural.data(), y.data(), y.size());
    double worst = 0;
    for (std::size_t i = 0; i < y.size(); ++i) worst = std::max(worst, error_ulp(y[i], std::exp(static_cast<double>(natural[i]))));
    EXPECT_LE(worst, 2.0);
    HWY_DYNAMIC_DISPATCH(exp2_of)(binary.data(), y.data(), y.size());
    worst = 0;
    for (std::size_t i = 0; i < y.size(); ++i) worst = std::max(worst, error_ulp(y[i], std::exp2(static_cast<double>(binary[i]))));
    EXPECT_LE(worst, 2.0);
  });
}

TEST(VectorExp, FarBelowIsZeroAndNanStays) {
  testing_support::for_each_target_and_thread_count([&](int) {
    testing_support::Buffer x(64);
    testing_support::Buffer y(64);
    for (std::size_t i = 0; i < 64; ++i) x[i] = i % 2 == 0 ? -1e30f : -200.0f;
    x[5] = std::numeric_limits<float>::quiet_NaN();
    x[6] = -std::numeric_limits<float>::infinity();
    for (const auto& function : {HWY_DYNAMIC_DISPATCH(exp_of), HWY_DYNAMIC_DISPATCH(exp2_of)}) {
      function(x.data(), y.data(), 64);
      for (std::size_t i = 0; i < 64; ++i) {
        EXPECT_TRUE(i == 5 ? std::isnan(y[i]) : y[i] == 0.0f) << i;
      }
    }
  });
}

}  // namespace
}  // namespace evolora
#endif  // HWY_ONCE
