// Every 16-bit pattern there and back, and the rounding between neighbours.
#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

namespace evolora {
namespace {

struct Half {
  const char* name;
  float (*widen)(std::uint16_t);
  std::uint16_t (*narrow)(float);
  std::uint16_t infinity;
};

const Half kHalves[] = {{"f16", f16_to_f32, f32_to_f16, 0x7c00}, {"bf16", bf16_to_f32, f32_to_bf16, 0x7f80}};

TEST(DType, EverySixteenBitPatternSurvivesARoundTrip) {
  for (const Half& half : kHalves) {
    for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
      const auto pattern = static_cast<std::uint16_t>(bits);
      const float value = half.widen(pattern);
      if ((pattern & 0x7fff) > half.infinity) {
        EXPECT_TRUE(std::isnan(value)) << half.name << bits;
        EXPECT_TRUE(std::isnan(half.widen(half.narrow(value)))) << half.name << bits;
      } else {
        ASSERT_EQ(half.narrow(value), pattern) << half.name;
      }
    }
  }
}

TEST(DType, F16ValuesFollowTheDefinition) {
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const int exponent = static_cast<int>(bits >> 10);
    const double mantissa = bits & 0x3ff;
    const double expected = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
    ASSERT_EQ(f16_to_f32(static_cast<std::uint16_t>(bits)), expected);
  }
}

TEST(DType, RoundsToNearestAndTiesToEven) {
  for (const Half& half : kHalves) {
    for (std::uint32_t bits = 0; bits + 1 < half.infinity; ++bits) {
      const auto low = static_cast<std::uint16_t>(bits);
      const auto high = static_cast<std::uint16_t>(bits + 1);
      const double a = half.widen(low);
      const double b = half.widen(high);
      const auto middle = static_cast<float>((a + b) / 2);  // one bit more than the half has: exact in fp32 (bf16 subnormals too)
      const std::uint16_t even = (bits & 1) == 0 ? low : high;
      ASSERT_EQ(half.narrow(middle), even) << half.name << bits;
      ASSERT_EQ(half.narrow(-middle), even | 0x8000) << half.name << bits;
      ASSERT_EQ(half.narrow(std::nextafter(middle, 0.0F)), low) << half.name << bits;
      ASSERT_EQ(half.narrow(std::nextafter(middle, INFINITY)), high) << half.name << bits;
    }
  }
}

TEST(DType, OverflowGoesToInfinity) {
  EXPECT_EQ(f32_to_f16(65519.0F), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30F), 0xfc00);
  EXPECT_EQ(f32_to_bf16(3.4028235e38F), 0x7f80);
  EXPECT_EQ(f32_to_f16(INFINITY), 0x7c00);
}

TEST(DType, LoadAndStore) {
  std::uint16_t halves[2] = {};
  store_float(DType::kF16, halves, 1, 1.5F);
  EXPECT_EQ(halves[0], 0);
  EXPECT_EQ(load_float(DType::kF16, halves, 1), 1.5F);
  store_float(DType::kBF16, halves, 0, -2.0F);
  EXPECT_EQ(load_float(DType::kBF16, halves, 0), -2.0F);
  float value = 0;
  store_float(DType::kF32, &value, 0, 3.25F);
  EXPECT_EQ(load_float(DType::kF32, &value, 0), 3.25F);
}

}  // namespace
}  // namespace evolora
