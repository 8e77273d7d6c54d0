// What packing promises, over random lengths; and how full it is beside lower bounds that no packing can beat.
#include "data/best_fit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

namespace evolora {
namespace {

using Lengths = std::vector<std::int64_t>;

std::vector<std::int64_t> sums_of(const Lengths& lengths, const Bins& bins) {
  std::vector<std::int64_t> sums;
  for (const auto& bin : bins) {
    std::int64_t sum = 0;
    for (const std::size_t item : bin) sum += lengths[item];
    sums.push_back(sum);
  }
  return sums;
}

void expect_each_once(const Lengths& lengths, const Bins& bins) {
  std::vector<std::size_t> items;
  for (const auto& bin : bins) items.insert(items.end(), bin.begin(), bin.end());
  std::sort(items.begin(), items.end());
  std::vector<std::size_t> all(lengths.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  EXPECT_EQ(items, all);
}

// The same by its definition: every bin is looked at for every item.
Bins by_definition(const Lengths& lengths, std::int64_t capacity) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lengths[a] > lengths[b]; });
  Bins bins;
  std::vector<std::int64_t> left;
  for (const std::size_t item : order) {
    std::size_t best = bins.size();
    for (std::size_t bin = 0; bin < bins.size(); ++bin) {
      if (left[bin] >= lengths[item] && (best == bins.size() || left[bin] < left[best])) best = bin;
    }
    if (best == bins.size()) {
      bins.emplace_back();
      left.push_back(capacity);
    }
    bins[best].push_back(item);
    left[best] -= lengths[item];
  }
  return bins;
}

TEST(BestFit, SmallCaseByHand) {
  // 6 | 5 and 3 | 4 and 4: the second 4 fits beside the first; 3 goes to the fullest bin with room, that of 5; 1 to a bin with 2 left.
  const Lengths lengths = {3, 6, 4, 5, 4, 1};
  EXPECT_EQ(pack_best_fit(lengths, 8), (Bins{{1, 5}, {3, 0}, {2, 4}}));
}

TEST(BestFit, IsItsDefinitionAndLosesNothing) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    const auto capacity = static_cast<std::int64_t>(10 + random() % 100);
    Lengths lengths(random() % 60);
    for (std::int64_t& length : lengths) length = 1 + static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(capacity + 5));
    const Bins bins = pack_best_fit(lengths, capacity);
    EXPECT_EQ(bins, by_definition(lengths, capacity));
    expect_each_once(lengths, bins);
    for (const auto& bin : bins) EXPECT_TRUE(bin.size() == 1 || largest_bin(lengths, {bin}) <= capacity);
  }
}

TEST(BestFit, OrderMovesEqualItemsButNotTheFill) {
  std::mt19937_64 random(2);
  Lengths lengths(300);
  for (std::int64_t& length : lengths) length = 1 + static_cast<std::int64_t>(random() % 20);
  const Bins bins = pack_best_fit(lengths, 50);
  std::vector<std::size_t> backwards(lengths.size());
  std::iota(backwards.rbegin(), backwards.rend(), std::size_t{0});
  const Bins others = pack_best_fit(lengths, 50, backwards);
  EXPECT_NE(bins, others);
  std::vector<std::int64_t> sums = sums_of(lengths, bins), other_sums = sums_of(lengths, others);
  std::sort(sums.begin(), sums.end());
  std::sort(other_sums.begin(), other_sums.end());
  EXPECT_EQ(sums, other_sums);
}

TEST(BestFit, NothingIsNoBins) { EXPECT_TRUE(pack_best_fit({}, 10).empty()); }

TEST(PackEvenly, EachOnceAndWithinTheLongestItemOfTheMean) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 100; ++round) {
    Lengths lengths(1 + random() % 40);
    for (std::int64_t& length : lengths) length = 1 + static_cast<std::int64_t>(random() % 100);
    const std::size_t count = 1 + random() % 6;
    const Bins bins = pack_evenly(lengths, count);
    EXPECT_EQ(bins.size(), count);
    expect_each_once(lengths, bins);
    const std::int64_t total = std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
    // The bin was the emptiest, so below the mean, before its last item came.
    EXPECT_LE(largest_bin(lengths, bins) * static_cast<std::int64_t>(count),
              total + *std::max_element(lengths.begin(), lengths.end()) * static_cast<std::int64_t>(count));
  }
}

}  // namespace
}  // namespace evolora
