// Cuts of random batches: nothing lost, limits kept, never more passes than in order, and best fit where it saves one.
#include "engine/batch_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

constexpr std::int64_t kVocabulary = 50;

Batch random_batch(std::mt19937_64& random, std::size_t segments, std::uint64_t longest) {
  std::vector<int> lengths;
  for (std::size_t s = 0; s < segments; ++s) lengths.push_back(static_cast<int>(1 + random() % longest));
  Batch batch = make_batch(lengths, kVocabulary, random());
  for (std::size_t s = 0; s < segments; ++s) batch.segment_samples.push_back(static_cast<std::int64_t>(100 + s));
  return batch;
}

// What is learned of a sample: its tokens, and (position, target) of its supervised rows.
struct Learned {
  std::vector<std::int32_t> tokens;
  std::vector<std::pair<std::int32_t, std::int32_t>> targets;
  bool operator==(const Learned&) const = default;
};

std::map<std::int64_t, Learned> learned_of(const std::vector<Batch>& batches) {
  std::map<std::int64_t, Learned> out;
  for (const Batch& batch : batches) {
    for (std::size_t s = 0; s < batch.segment_samples.size(); ++s) {
      Learned& learned = out[batch.segment_samples[s]];
      EXPECT_TRUE(learned.tokens.empty()) << "a sample came twice";
      learned.tokens.assign(batch.tokens.begin(), batch.tokens.begin() + batch.tokens_before(static_cast<std::int64_t>(s)));
      for (auto i = static_cast<std::size_t>(batch.segment_starts[s]); i < static_cast<std::size_t>(batch.segment_starts[s + 1]); ++i) {
        learned.tokens.push_back(batch.tokens[i]);
        EXPECT_EQ(batch.positions[i], static_cast<std::int32_t>(learned.tokens.size()) - 1);
      }
    }
    EXPECT_TRUE(std::is_sorted(batch.loss_rows.begin(), batch.loss_rows.end()));
    for (std::size_t m = 0; m < batch.loss_rows.size(); ++m) {
      const auto after = std::upper_bound(batch.segment_starts.begin(), batch.segment_starts.end(), batch.loss_rows[m]);
      const auto s = static_cast<std::size_t>(after - batch.segment_starts.begin()) - 1;
      out[batch.segment_samples[s]].targets.emplace_back(batch.positions[static_cast<std::size_t>(batch.loss_rows[m])], batch.targets[m]);
    }
  }
  return out;
}

std::size_t passes_in_order(const Batch& batch, std::int64_t max_tokens) {
  std::size_t passes = 0;
  std::int64_t filled = max_tokens + 1;
  for (std::size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    const std::int64_t length = batch.segment_starts[s + 1] - batch.segment_starts[s];
    if (filled + length > max_tokens) {
      ++passes;
      filled = 0;
    }
    filled += length;
  }
  return passes;
}

TEST(BatchSplit, LosesNothingAndKeepsTheLimit) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 200; ++round) {
    const Batch batch = random_batch(random, 1 + random() % 12, 60);
    const auto limit = static_cast<std::int64_t>(1 + random() % 120);
    const std::vector<Batch> pieces = split_batch(batch, limit);
    EXPECT_EQ(learned_of(pieces), learned_of({batch}));
    EXPECT_LE(pieces.size(), passes_in_order(batch, limit));
    std::int64_t real_tokens = 0;
    for (const Batch& piece : pieces) {
      EXPECT_TRUE(piece.segment_count() == 1 || piece.token_count() <= limit);
      real_tokens += piece.real_tokens;
    }
    EXPECT_EQ(real_tokens, batch.real_tokens);
  }
}

TEST(BatchSplit, SharedTokensAreThereOnceAndTheSamplesAreTheSame) {
  std::mt19937_64 random(6);
  for (int round = 0; round < 200; ++round) {
    Batch batch = random_batch(random, 2 + random() % 8, 60);
    const auto shortest = [&] {
      std::int64_t least = batch.own_tokens(0);
      for (std::int64_t s = 1; s < batch.segment_count(); ++s) least = std::min(least, batch.own_tokens(s));
      return least;
    }();
    begin_alike(batch, std::min<std::int64_t>(shortest, static_cast<std::int64_t>(random() % 16)));
    const auto limit = static_cast<std::int64_t>(random() % 200);
    const std::vector<Batch> pieces = split_batch(batch, limit, true);
    EXPECT_EQ(learned_of(pieces), learned_of({batch}));
    for (const Batch& piece : pieces) {
      EXPECT_TRUE(limit == 0 || piece.segment_count() == 1 || piece.token_count() <= limit);
      EXPECT_TRUE(piece.shared_tokens == 0 || piece.shared_tokens >= kLeastShared);
      EXPECT_TRUE(piece.loss_rows.empty() || piece.loss_rows.front() >= piece.shared_tokens);
      for (std::int64_t s = 0; s < piece.segment_count(); ++s) EXPECT_GT(piece.own_tokens(s), s == 0 ? piece.shared_tokens : 0);
    }
  }
  Batch batch = make_batch({60, 40, 50}, kVocabulary, 1);
  begin_alike(batch, 12);
  const std::vector<Batch> whole = split_batch(batch, 0, true);
  ASSERT_EQ(whole.size(), 1U);
  EXPECT_EQ(whole[0].shared_tokens, 12);
  EXPECT_EQ(whole[0].token_count(), 126);
  EXPECT_EQ(whole[0].key_count(), 150);
  EXPECT_EQ(whole[0].real_tokens, 150);
  EXPECT_EQ(split_batch(batch, 126, true).size(), 1U);  // with what is shared, it fits
  EXPECT_EQ(split_batch(batch, 0, false)[0].shared_tokens, 0);
  begin_alike(batch, 7);
  batch.tokens[60 + 7] ^= 1;
  EXPECT_EQ(split_batch(batch, 0, true)[0].shared_tokens, 0) << "not worth it";
}

std::vector<std::int64_t> piece_sizes(const std::vector<int>& lengths, std::int64_t max_tokens) {
  std::vector<std::int64_t> sizes;
  for (const Batch& piece : split_batch(make_batch(lengths, kVocabulary, 1), max_tokens)) sizes.push_back(piece.token_count());
  return sizes;
}

TEST(BatchSplit, BestFitSavesAPass) {
  EXPECT_EQ(piece_sizes({60, 50, 40, 50}, 100), (std::vector<std::int64_t>{100, 100}));  // in order: 60, 50 + 40, 50
}

TEST(BatchSplit, EvenPiecesWhereNoPassCanBeSaved) {
  EXPECT_EQ(piece_sizes({50, 50, 10, 10}, 100), (std::vector<std::int64_t>{60, 60}));        // in order and by best fit: 50 + 50, 10 + 10
  EXPECT_EQ(piece_sizes({200, 90, 20, 70}, 100), (std::vector<std::int64_t>{200, 90, 90}));  // one too long by itself
}

TEST(BatchSplit, InOrderIfNothingIsGained) { EXPECT_EQ(piece_sizes({30, 40, 50, 20}, 70), (std::vector<std::int64_t>{70, 70})); }

TEST(BatchSplit, NoLimitOrRoomForAllIsOnePiece) {
  const Batch batch = make_batch({3, 4}, kVocabulary, 1);
  EXPECT_EQ(split_batch(batch, 0).size(), 1U);
  EXPECT_EQ(split_batch(batch, 7).size(), 1U);
  EXPECT_EQ(split_batch(batch, 6).size(), 2U);
}

TEST(BatchSplit, PiecesInWhichNothingIsLearnedAreLeftOut) {
  Batch batch = make_batch({10, 10}, kVocabulary, 1);
  const auto middle = std::lower_bound(batch.loss_rows.begin(), batch.loss_rows.end(), 10) - batch.loss_rows.begin();
  batch.loss_rows.erase(batch.loss_rows.begin(), batch.loss_rows.begin() + middle);
  batch.targets.erase(batch.targets.begin(), batch.targets.begin() + middle);
  const std::vector<Batch> pieces = split_batch(batch, 10);
  ASSERT_EQ(pieces.size(), 1U);
  EXPECT_EQ(pieces[0].loss_rows.size(), batch.loss_rows.size());
}

}  // namespace
}  // namespace evolora
