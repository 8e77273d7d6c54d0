// Rows that segments share, repeated and summed: against loops over segments and positions, the same bits for any number of threads.
#include "engine/shared_prefix.h"

#include <gtest/gtest.h>

#include "engine/batch_split.h"
#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

TEST(SharedPrefix, RepeatsAndSums) {
  constexpr std::int64_t kWidth = 5;
  Batch whole = make_batch({40, 60, 33, 36}, 83, 2);
  begin_alike(whole, 10);
  const Batch batch = split_batch(whole, 0, true).front();
  ASSERT_EQ(batch.shared_tokens, 10);
  ASSERT_EQ(batch.key_count(), whole.token_count());
  const std::vector<float> x = test_values(static_cast<std::size_t>(batch.token_count() * kWidth), 1);
  const std::vector<float> d_all = test_values(static_cast<std::size_t>(batch.key_count() * kWidth), 2);

  std::vector<float> all, dx(x.size(), 0.0F);
  for (std::int64_t s = 0; s < batch.segment_count(); ++s) {
    for (std::int64_t i = 0; i < batch.tokens_before(s) + batch.own_tokens(s); ++i) {
      const std::int64_t before = batch.tokens_before(s);
      const std::int64_t row = i < before ? i : batch.segment_starts[static_cast<std::size_t>(s)] + i - before;
      for (std::int64_t c = 0; c < kWidth; ++c) {
        dx[static_cast<std::size_t>(row * kWidth + c)] += d_all[all.size()];
        all.push_back(x[static_cast<std::size_t>(row * kWidth + c)]);
      }
    }
  }
  for (const int count : {1, 3}) {
    Threads threads(count);
    std::vector<float> repeated(d_all.size()), summed(x.size());
    repeat_shared_rows(batch, kWidth, x.data(), repeated.data(), threads);
    sum_shared_rows(batch, kWidth, d_all.data(), summed.data(), threads);
    EXPECT_EQ(repeated, all);
    EXPECT_EQ(summed, dx);
  }
}

TEST(SharedPrefix, OneTokenOfItsOwnIsEnough) {
  Batch whole = make_batch({31, 30, 34}, 83, 2);
  begin_alike(whole, 30);
  whole.loss_rows = {30, 94};  // nothing is learned of the second, whose last token is its own
  whole.targets = {1, 2};
  whole.tokens[31 + 29] ^= 1;
  const Batch batch = split_batch(whole, 0, true).front();
  EXPECT_EQ(batch.shared_tokens, 29);
  EXPECT_EQ(batch.own_tokens(1), 1);
  EXPECT_EQ(batch.own_tokens(2), 5);
  EXPECT_EQ(batch.loss_rows, (std::vector<std::int32_t>{30, 36}));
}

}  // namespace
}  // namespace evolora
