// Edit distances known by hand, and that suggestions are near, deterministic and silent for unrelated words.
#include "base/suggest.h"

#include <gtest/gtest.h>

#include <vector>

namespace evolora {
namespace {

TEST(EditDistance, CountsEachKindOfSlipOnce) {
  EXPECT_EQ(edit_distance("", ""), 0U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("rank", "rnak"), 1U);
  EXPECT_EQ(edit_distance("iters", "iter"), 1U);
}

TEST(EditDistance, IsSymmetric) { EXPECT_EQ(edit_distance("learning_rte", "learning_rate"), edit_distance("learning_rate", "learning_rte")); }

TEST(NearestWord, FindsTheIntendedKey) {
  const std::vector<std::string> keys = {"batch_size", "val_batches", "learning_rate", "save_every"};
  EXPECT_EQ(nearest_word("learning_rte", keys), "learning_rate");
  EXPECT_EQ(nearest_word("bacth_size", keys), "batch_size");
  EXPECT_EQ(nearest_word("save-every", keys), "save_every");
}

TEST(NearestWord, SaysNothingAboutUnrelatedWords) {
  const std::vector<std::string> keys = {"batch_size", "iters"};
  EXPECT_EQ(nearest_word("zzz", keys), std::nullopt);
  EXPECT_EQ(did_you_mean("zzz", keys), "");
  EXPECT_EQ(nearest_word("", keys), std::nullopt);
}

TEST(NearestWord, TakesTheFirstAmongEquals) {
  const std::vector<std::string> keys = {"cat", "bat"};
  EXPECT_EQ(nearest_word("hat", keys), "cat");
}

TEST(DidYouMean, ReadsAsTheEndOfASentence) {
  const std::vector<std::string> keys = {"iters"};
  EXPECT_EQ(did_you_mean("itres", keys), "; did you mean 'iters'?");
}

}  // namespace
}  // namespace evolora
