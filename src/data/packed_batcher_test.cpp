// Packed epochs: nothing lost, nothing cut, no row too long, and as full as can be.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "data/batcher.h"
#include "data/best_fit.h"

namespace evolora {
namespace {

// Sample number i begins with token i; the first third is prompt.
std::vector<Sample> samples_of(const std::vector<std::int64_t>& lengths) {
  std::vector<Sample> samples;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    Sample sample;
    const auto length = static_cast<std::size_t>(lengths[i]);
    sample.tokens.assign(length, static_cast<std::int32_t>(i));
    sample.supervised.assign(length, 1);
    std::fill_n(sample.supervised.begin(), 1 + length / 3, std::uint8_t{0});
    sample.supervised.back() = 1;
    sample.id = static_cast<std::int64_t>(i);
    samples.push_back(std::move(sample));
  }
  return samples;
}

// Log-normal, as lengths of texts are, in the range of questions and answers like GSM8K's.
std::vector<std::int64_t> like_gsm8k(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::int64_t> lengths;
  for (std::size_t i = 0; i < count; ++i) {
    // Box and Muller, because std::normal_distribution is another one in every library.
    const double u = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
    const double v = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
    const double normal = std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
    lengths.push_back(std::clamp<std::int64_t>(std::llround(150 * std::exp(0.45 * normal)), 30, 500));
  }
  return lengths;
}

std::vector<std::vector<std::int64_t>> members_of(const std::vector<Batch>& batches) {
  std::vector<std::vector<std::int64_t>> out;
  for (const Batch& batch : batches) out.push_back(batch.segment_samples);
  return out;
}

TEST(PackedBatcher, EverySampleOnceAnEpochAndNoBatchOverItsRows) {
  const std::vector<std::int64_t> lengths = like_gsm8k(500, 1);
  for (const std::int64_t batch_size : {1, 3, 4, 7}) {  // not all of them divide the number of rows
    constexpr std::int64_t kRow = 1024;
    PackedBatcher batcher(samples_of(lengths), batch_size, kRow, 7);
    for (int epoch = 0; epoch < 3; ++epoch) {
      const std::vector<Batch> batches = batcher.next_epoch();
      EXPECT_EQ(static_cast<std::int64_t>(batches.size()), batcher.batches_per_epoch());
      std::multiset<std::int64_t> seen;
      std::int64_t supervised = 0;
      for (const Batch& batch : batches) {
        EXPECT_LE(batch.real_tokens, batch_size * kRow);
        if (batch_size == 1) {
          EXPECT_LE(batch.token_count(), kRow);
        }
        seen.insert(batch.segment_samples.begin(), batch.segment_samples.end());
        supervised += batch.supervised_count();
        for (std::int64_t s = 0; s < batch.segment_count(); ++s) {
          const auto begin = static_cast<std::size_t>(batch.segment_starts[static_cast<std::size_t>(s)]);
          EXPECT_EQ(batch.positions[begin], 0);
          EXPECT_EQ(batch.tokens[begin], batch.segment_samples[static_cast<std::size_t>(s)]);
        }
      }
      EXPECT_EQ(seen.size(), lengths.size());
      EXPECT_EQ(std::set<std::int64_t>(seen.begin(), seen.end()).size(), lengths.size());
      std::int64_t expected = 0;
      for (const Sample& sample : samples_of(lengths)) expected += std::count(sample.supervised.begin(), sample.supervised.end(), std::uint8_t{1});
      EXPECT_EQ(supervised, expected);
    }
  }
}

TEST(PackedBatcher, FillsRowsAsBestFitDecreasingDoesAndNearlyWhole) {
  for (const std::int64_t row : {512, 1024, 2048}) {
    const std::vector<std::int64_t> lengths = like_gsm8k(2000, 2);
    PackedBatcher batcher(samples_of(lengths), 1, row, 3);
    const auto rows = static_cast<double>(batcher.rows_per_epoch());
    EXPECT_EQ(batcher.rows_per_epoch(), static_cast<std::int64_t>(pack_best_fit(lengths, row).size()));
    double tokens = 0;
    for (const std::int64_t length : lengths) tokens += static_cast<double>(length);
    // No packing has fewer rows than this.
    const double fewest = std::ceil(tokens / static_cast<double>(row));
    EXPECT_GE(fewest / rows, 0.95) << row;
  }
}

TEST(PackedBatcher, SeedDecidesAndEpochsDiffer) {
  const std::vector<Sample> samples = samples_of(like_gsm8k(200, 3));
  PackedBatcher a(samples, 2, 512, 7), b(samples, 2, 512, 7), other(samples, 2, 512, 8);
  const auto first = members_of(a.next_epoch());
  EXPECT_EQ(first, members_of(b.next_epoch()));
  EXPECT_NE(first, members_of(other.next_epoch()));
  auto second = members_of(a.next_epoch());
  auto sorted = first;
  std::sort(sorted.begin(), sorted.end());
  std::sort(second.begin(), second.end());
  EXPECT_NE(sorted, second) << "not only the order of batches changes";
}

TEST(PackedBatcher, NoSamplesNoBatches) {
  PackedBatcher batcher({}, 4, 128, 0);
  EXPECT_EQ(batcher.batches_per_epoch(), 0);
  EXPECT_TRUE(batcher.next_epoch().empty());
}

}  // namespace
}  // namespace evolora
