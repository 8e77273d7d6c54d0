// Golden values printed by mlx 0.32.4: mx.random.seed(seed), then mx.random.uniform of five shapes, hashed.
#include "base/mlx_random.h"

#include <gtest/gtest.h>

#include <bit>
#include <vector>

namespace evolora {
namespace {

struct Shape {
  std::size_t size;
  float low, high;
};
constexpr Shape kShapes[] = {{1, 0.0F, 1.0F}, {2, 0.0F, 1.0F}, {5, -0.25F, 0.25F}, {12, -0.375F, 0.375F}, {77, -3.0F, 5.0F}};

struct Golden {
  std::uint64_t seed;
  std::uint64_t hashes[5];  // of the bits of each array: h = h * 1099511628211 + word
};

TEST(MlxRandom, UniformEqualsMlxBitForBit) {
  const std::vector<Golden> goldens = {
      {0U, {0x3DD7CBB9U, 0xE3A66B4D78D7E1U, 0x898B99A5C0026D2EU, 0x95BF9F0C2B3E06BU, 0xBC48F0507CC7DA5U}},
      {1U, {0x3E00B408U, 0x37A9796BAA9567C4U, 0x62764CC3222AAB47U, 0x59AA1C766AAD8911U, 0xEC9D978E52C94A3EU}},
      {42U, {0x3F6A2180U, 0x97FA56B5AF9170CU, 0x5594236E19C1D5C8U, 0x6C2B934004E09222U, 0xCE0A608A7459BD85U}},
      {1099511627793U, {0x3E8A817CU, 0xAFF10B6AC456E272U, 0x865DE753BE50B7CU, 0x48E4872161782C1BU, 0x3271C34AD16C84E9U}},
      {18446744073709551615U, {0x3F2B0F92U, 0x7528CD6C134C6E08U, 0x8AC6C2B2CB70AF38U, 0xD177E271C66C99F5U, 0x71DD395CF22D24C9U}},
  };
  for (const Golden& golden : goldens) {
    MlxRandom random(golden.seed);
    for (std::size_t i = 0; i < std::size(kShapes); ++i) {
      std::vector<float> values(kShapes[i].size);
      mlx_uniform(random.next_key(), kShapes[i].low, kShapes[i].high, values);
      std::uint64_t hash = 0;
      for (const float value : values) hash = hash * 1099511628211U + std::bit_cast<std::uint32_t>(value);
      EXPECT_EQ(hash, golden.hashes[i]) << "seed " << golden.seed << ", array " << i;
    }
  }
}

TEST(MlxRandom, UniformStaysBelowHigh) {
  MlxRandom random(7);
  std::vector<float> values(100001);
  mlx_uniform(random.next_key(), 0.0F, 1.0F, values);
  for (const float value : values) {
    ASSERT_GE(value, 0.0F);
    ASSERT_LT(value, 1.0F);
  }
}

TEST(MlxRandom, KeysDiffer) {
  MlxRandom random(0);
  const MlxKey first = random.next_key();
  EXPECT_NE(first, random.next_key());
  EXPECT_EQ(first, MlxRandom(0).next_key());
}

}  // namespace
}  // namespace evolora
