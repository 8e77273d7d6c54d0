// Golden values printed by numpy: np.random.seed(seed), then permutation(1), (2), (7), (1000) and (5).
#include "base/numpy_random.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace evolora {
namespace {

struct Golden {
  std::uint32_t seed;
  std::vector<std::int64_t> of_2, of_7;
  std::int64_t weighted_sum_of_1000;    // sum of value * (place + 1): any exchange of two changes it
  std::vector<std::int64_t> last_of_5;  // after more than one refill of the generator's state
};

TEST(NumpyRandom, PermutationsEqualNumpys) {
  const std::vector<Golden> goldens = {
      {0U, {1, 0}, {6, 2, 1, 4, 3, 0, 5}, 249677318, {1, 2, 4, 3, 0}},          {1U, {0, 1}, {5, 2, 1, 6, 0, 4, 3}, 250016087, {0, 3, 1, 4, 2}},
      {42U, {1, 0}, {1, 5, 0, 6, 2, 4, 3}, 253465393, {3, 2, 4, 0, 1}},         {123456U, {0, 1}, {5, 4, 3, 0, 1, 6, 2}, 253852339, {1, 3, 2, 0, 4}},
      {4294967295U, {0, 1}, {1, 3, 6, 0, 5, 4, 2}, 250837279, {4, 0, 2, 1, 3}},
  };
  for (const Golden& golden : goldens) {
    NumpyRandom random(golden.seed);
    EXPECT_EQ(random.permutation(0), std::vector<std::int64_t>{});
    EXPECT_EQ(random.permutation(1), std::vector<std::int64_t>{0}) << "and draws nothing";
    EXPECT_EQ(random.permutation(2), golden.of_2) << golden.seed;
    EXPECT_EQ(random.permutation(7), golden.of_7) << golden.seed;
    const auto thousand = random.permutation(1000);
    std::int64_t sum = 0;
    for (std::size_t i = 0; i < thousand.size(); ++i) sum += thousand[i] * static_cast<std::int64_t>(i + 1);
    EXPECT_EQ(sum, golden.weighted_sum_of_1000) << golden.seed;
    EXPECT_EQ(random.permutation(5), golden.last_of_5) << golden.seed;
  }
}

TEST(NumpyRandom, WordsAreMt19937) {
  // The C++ standard fixes the 10000th output of std::mt19937 with its default seed 5489; numpy's generator is the same.
  NumpyRandom random(5489);
  std::uint32_t word = 0;
  for (int i = 0; i < 10000; ++i) word = random.next_u32();
  EXPECT_EQ(word, 4123659995U);
}

}  // namespace
}  // namespace evolora
