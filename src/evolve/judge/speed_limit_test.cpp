// What is impossible stays impossible, and a peak that was measured on a busy machine condemns nobody.
#include "evolve/judge/speed_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace evolora {
namespace {

constexpr double kCall = 0.1e9;  // operations

TEST(SpeedLimit, ACallThatBeatsThePeakIsImpossible) {
  int measurements = 0;
  SpeedLimit limit([&] { return ++measurements, 100e9; });
  EXPECT_FALSE(limit.too_fast(1e-3, kCall).has_value()) << "as fast as the peak";
  EXPECT_FALSE(limit.too_fast(0.85e-3, kCall).has_value()) << "clocks differ";
  EXPECT_EQ(measurements, 1) << "nothing was suspicious";
  const auto words = limit.too_fast(0.5e-3, kCall);
  ASSERT_TRUE(words.has_value());
  EXPECT_THAT(*words, testing::HasSubstr("took 0.5 ms, and the machine's multiply-adds alone take 1 ms at its peak of 100 Gflop/s"));
}

// Seen on two threads of one core: 59 Gflop/s with a neighbour, 101 without, and an honest call that met no neighbour.
TEST(SpeedLimit, APeakThatWasMeasuredBesideOtherWorkIsMeasuredAgain) {
  int measurements = 0;
  SpeedLimit limit([&] { return ++measurements < 5 ? 59e9 : 101e9; });
  EXPECT_FALSE(limit.too_fast(1.06e-3, kCall).has_value());
  EXPECT_EQ(measurements, 5);
  EXPECT_DOUBLE_EQ(limit.peak_flops(), 101e9);
  EXPECT_TRUE(limit.too_fast(0.5e-3, kCall).has_value());
}

}  // namespace
}  // namespace evolora
