// What the planner promises: the plan fits and is exact, less memory never makes it faster, and the least it names is enough.
#include "engine/recipe_planner.h"

#include <gtest/gtest.h>

#include <string>

#include "base/test_folder.h"
#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

class RecipePlannerTest : public ::testing::Test {
 protected:
  RecipePlannerTest() : weights_(load_test_model({.num_layers = 6}, folder_ / "model")) {
    adapters_ = make_adapters(weights_.spec(), {.num_layers = 4, .rank = 4});
    run_.training = {make_batch({400, 380, 390, 410}, weights_.spec().vocab_size, 1), make_batch({90, 80, 70, 100}, weights_.spec().vocab_size, 2)};
    run_.evaluation = {make_batch({300, 300}, weights_.spec().vocab_size, 3)};
    run_.epochs = 1;
    run_.evaluations = 1;
    run_.threads = 2;
    run_.fixed_bytes = 1'000'000;
  }
  Result<PlannedRecipe> plan(std::size_t memory_bytes, const RecipeChoices& choices = {}) {
    return plan_recipe(weights_, adapters_, choices, run_, {.memory_bytes = memory_bytes});
  }
  // What the message about too little memory says is needed.
  std::size_t least_named_megabytes() {
    const auto refused = plan(run_.fixed_bytes);
    EXPECT_FALSE(refused.ok());
    if (refused.ok()) return 0;
    EXPECT_EQ(refused.error().code, ErrorCode::kTooLarge);
    const std::string words = "it needs ";
    const std::size_t at = refused.error().message.find(words);
    EXPECT_NE(at, std::string::npos) << refused.error().message;
    return at == std::string::npos ? 0 : std::stoul(refused.error().message.substr(at + words.size()));
  }
  std::size_t exact_arena(const Recipe& recipe) {
    ArenaPlanner planner(weights_, adapters_, recipe, run_.threads, recipe.prefix_cache != PrefixCache::kOff);
    for (const Batch& batch : run_.training) planner.add(batch, true);
    for (const Batch& batch : run_.evaluation) planner.add(batch, false);
    return planner.arena_bytes();
  }

  TestFolder folder_;
  ModelWeights weights_;
  AdapterSet adapters_;
  RunShape run_;
};

TEST_F(RecipePlannerTest, LessMemoryIsKeptAndNeverFaster) {
  const PlannedRecipe unlimited = plan(0).value();
  double seconds = 0;
  std::size_t limit = 2 * unlimited.resident_bytes;
  for (auto planned = plan(limit); planned.ok(); planned = plan(limit)) {
    EXPECT_LE(planned->resident_bytes, limit);
    EXPECT_EQ(planned->arena_bytes, exact_arena(planned->recipe));
    EXPECT_GE(planned->seconds, seconds);
    seconds = planned->seconds;
    limit = planned->resident_bytes - 1;
  }
  // The walk ends at the least that the refusal names, below what is taken without a limit.
  EXPECT_EQ((limit + 1 + 999'999) / 1'000'000, least_named_megabytes());
  EXPECT_LT(limit, unlimited.resident_bytes);
}

TEST_F(RecipePlannerTest, CommonBeginningsAreComputedOnceWhereThatPays) {
  EXPECT_FALSE(plan(0)->recipe.share_prefixes) << "nothing begins alike";
  run_.training = {make_batch({90, 120, 100, 95}, weights_.spec().vocab_size, 1), make_batch({93, 96}, weights_.spec().vocab_size, 2)};
  const double repeated = plan(0)->seconds;
  for (Batch& batch : run_.training) begin_alike(batch, 30);
  const PlannedRecipe shared = plan(0).value();
  EXPECT_TRUE(shared.recipe.share_prefixes);
  EXPECT_LT(shared.seconds, 0.95 * repeated);
  EXPECT_EQ(shared.arena_bytes, exact_arena(shared.recipe));
  // Two tokens fewer to compute in each of 60 are not worth copying all keys and values.
  run_.training = {make_batch({600, 600}, weights_.spec().vocab_size, 1)};
  begin_alike(run_.training.front(), 9);
  EXPECT_EQ(exact_arena(plan(0)->recipe), plan(0)->arena_bytes);
}

TEST_F(RecipePlannerTest, TheLeastItNamesIsEnough) { EXPECT_TRUE(plan(least_named_megabytes() * 1'000'000).ok()); }

TEST_F(RecipePlannerTest, WithoutALimitTheSmallestOfTheNearlyFastest) {
  const PlannedRecipe chosen = plan(0).value();
  const PlannedRecipe fastest = plan(SIZE_MAX).value();
  EXPECT_LE(chosen.seconds, 1.03 * fastest.seconds);
  EXPECT_LT(chosen.resident_bytes, fastest.resident_bytes);
  // A limit of as much memory finds nothing faster than the nearly fastest.
  EXPECT_LE(plan(chosen.resident_bytes).value().seconds, chosen.seconds);
}

TEST_F(RecipePlannerTest, ChoicesAreKeptAndExactStorageIsExact) {
  RecipeChoices choices;
  choices.micro_batch_tokens = 500;
  choices.recompute = Recompute::kMlp;
  choices.head_rows_per_chunk = 24;
  choices.release_weights = false;
  const Recipe recipe = plan(0, choices).value().recipe;
  EXPECT_EQ(recipe.micro_batch_tokens, 500);
  EXPECT_EQ(recipe.recompute, Recompute::kMlp);
  EXPECT_EQ(recipe.head_rows_per_chunk, 24);
  EXPECT_FALSE(recipe.release_weights);
  const auto exact = plan_recipe(weights_, adapters_, {}, run_, {.exact_storage = true});
  EXPECT_EQ(exact->recipe.saved_activations, StorageType::kFp32);
}

}  // namespace
}  // namespace evolora
