// The last block behind its attention for supervised rows alone: copies against loops; steps against the same step for all rows, which adapters with
// a dropout too small to drop anything get.
#include "engine/supervised_rows.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

// Learns of few rows, here and there, of none in the second segment.
Batch sparse_batch(std::int64_t vocab) {
  Batch batch = make_batch({40, 21, 33, 50}, vocab, 4);
  batch.loss_rows = {3, 4, 39, 61, 92, 100, 101, 102, 143};
  batch.targets.resize(batch.loss_rows.size());
  batch.segment_samples = {0, 1, 2, 3};
  return batch;
}

TEST(SupervisedRows, PicksAndPlaces) {
  constexpr std::int64_t kWidth = 5;
  const Batch batch = sparse_batch(83);
  const std::vector<float> x = test_values(static_cast<std::size_t>(batch.token_count() * kWidth), 1);
  std::vector<float> expected, back(x.size(), 0.0F);
  for (const std::int32_t row : batch.loss_rows) {
    for (std::int64_t c = 0; c < kWidth; ++c) {
      const auto at = static_cast<std::size_t>(row * kWidth + c);
      expected.push_back(x[at]);
      back[at] = x[at];
    }
  }
  for (const int count : {1, 3}) {
    Threads threads(count);
    std::vector<float> picked(expected.size(), -1.0F), placed(x.size(), -1.0F);
    pick_supervised_rows(batch, kWidth, x.data(), picked.data(), threads);
    place_supervised_rows(batch, kWidth, picked.data(), placed.data(), threads);
    EXPECT_EQ(picked, expected);
    EXPECT_EQ(placed, back);
  }
}

TEST(SupervisedRows, ArePickedWhereTheyAreFewAndNothingIsDropped) {
  TestFolder folder;
  const ModelWeights weights = load_test_model({}, folder / "model");
  const AdapterSet plain = make_adapters(weights.spec(), {.num_layers = 2, .rank = 2});
  EXPECT_TRUE(picks_supervised_rows(sparse_batch(83), plain));
  EXPECT_FALSE(picks_supervised_rows(make_batch({40, 40}, 83, 1, false), plain));
  EXPECT_FALSE(picks_supervised_rows(sparse_batch(83), make_adapters(weights.spec(), {.num_layers = 2, .rank = 2, .dropout = 0.1F})));
  EXPECT_FALSE(picks_supervised_rows(make_batch({9}, 83, 1, false), plain));
}

// All blocks lie below the first adapter then: what is kept for later passes has all rows.
TEST(SupervisedRows, TheBaseModelsStatesAreKeptWhole) {
  TestFolder folder;
  const ModelWeights weights = load_test_model({}, folder / "model");
  AdapterSet none = make_adapters(weights.spec(), {.num_layers = 2, .rank = 2, .keys = std::vector<std::string>{}});
  ASSERT_TRUE(none.modules().empty());
  const Batch batch = sparse_batch(weights.spec().vocab_size);
  Batch others = batch;  // the same samples, of which other tokens are learned
  for (std::int32_t& row : others.loss_rows) row -= 2;
  Threads threads(2);
  TrainingEngine engine(weights, none, {.threads = 2}, threads);
  const double computed = engine.loss_sum(batch), computed_others = engine.loss_sum(others);
  engine.use_prefix_store(PrefixStore::in_memory(weights.spec().hidden_size));
  EXPECT_EQ(engine.loss_sum(batch), computed);
  EXPECT_EQ(engine.loss_sum(others), computed_others);
}

TEST(SupervisedRows, GiveTheStepOfAllRowsForLess) {
  TestFolder folder;
  int models = 0;
  for (const TestModel& model : {TestModel{.num_layers = 3}, TestModel{.model_type = "qwen2", .num_layers = 3}}) {
    const ModelWeights weights = load_test_model(model, folder / std::to_string(++models));
    const Batch batch = sparse_batch(weights.spec().vocab_size);
    const std::vector<std::optional<std::vector<std::string>>> key_sets = {
        std::nullopt, {{"mlp.down_proj"}}, {{"mlp.up_proj"}}, {{"self_attn.o_proj"}}, {{"self_attn.q_proj", "self_attn.v_proj"}}};
    for (const auto& keys : key_sets) {
      for (const std::int64_t layers : {1, 2}) {
        AdapterSet picked = make_adapters(weights.spec(), {.num_layers = layers, .rank = 4, .keys = keys});
        AdapterSet all = make_adapters(weights.spec(), {.num_layers = layers, .rank = 4, .dropout = 1e-30F, .keys = keys});
        const StepResult expected = run_step(weights, all, {.threads = 2}, batch);
        for (const Recompute recompute : {Recompute::kNothing, Recompute::kMlp, Recompute::kBlock}) {
          for (const std::int64_t micro_batch : {0, 60}) {
            const Recipe recipe{.threads = 2, .recompute = recompute, .micro_batch_tokens = micro_batch};
            expect_same(expected, run_step(weights, picked, recipe, batch), weights.spec(), "picked");
          }
        }
        Threads threads(2);
        const auto pass = [&](AdapterSet& adapters) {
          TrainingEngine engine(weights, adapters, {.threads = 2}, threads);
          engine.use_prefix_store(PrefixStore::in_memory(weights.spec().hidden_size));
          engine.poison_buffers(true);
          const double loss = engine.loss_sum(batch);
          EXPECT_NEAR(engine.forward_backward(batch, 1, 5), loss, rounding_bound(weights.spec(), loss));
          return std::tuple(loss, engine.necessary_flops(), engine.arena_bytes_for(batch, true));
        };
        const auto [loss, operations, bytes] = pass(picked);
        const auto [loss_of_all, operations_of_all, bytes_of_all] = pass(all);
        EXPECT_NEAR(loss, loss_of_all, rounding_bound(weights.spec(), loss));
        EXPECT_LT(operations, 0.8 * operations_of_all);  // of one or two blocks, nearly all behind attention in one
        EXPECT_LE(bytes, bytes_of_all);
      }
    }
  }
}

}  // namespace
}  // namespace evolora
