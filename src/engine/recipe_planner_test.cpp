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
  int plans = 0;
  for (auto planned = plan(limit); planned.ok(); planned = plan(limit)) {
    EXPECT_LE(planned->resident_bytes, limit);
    EXPECT_EQ(planned->arena_bytes, exact_arena(planned->recipe));
    EXPECT_GE(planned->seconds, seconds);
    seconds = planned->seconds;
    limit = planned->resident_bytes - 1;
    ++plans;
  }
  EXPECT_GT(plans, 10) << "fine steps between the fastest and the smallest";
}

TEST_F(RecipePlannerTest, TheLeastItNamesIsEnough) {
  const auto refused = plan(run_.fixed_bytes);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kTooLarge);
  const std::string& message = refused.error().message;
  const std::string words = "it needs ";
  const auto megabytes = std::stoul(message.substr(message.find(words) + words.size()));
  EXPECT_TRUE(plan(megabytes * 1'000'000).ok()) << message;
}

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
