// Packed training against every sample by itself: the same loss, the same gradients, whole and in micro-batches, cached and checkpointed.
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "data/batcher.h"
#include "engine/training_engine_test_support.h"

namespace evolora {
namespace {

std::vector<Sample> random_samples(const std::vector<std::size_t>& lengths, std::int64_t vocabulary) {
  const std::vector<float> values = test_values(4096, 21);
  std::vector<Sample> samples;
  std::size_t at = 0;
  for (const std::size_t length : lengths) {
    Sample sample;
    for (std::size_t i = 0; i < length; ++i) {
      sample.tokens.push_back(static_cast<std::int32_t>((values[at++ % values.size()] + 1.0F) * 0.5F * static_cast<float>(vocabulary - 1)));
      sample.supervised.push_back(i > length / 3 ? 1 : 0);
    }
    sample.id = static_cast<std::int64_t>(samples.size());
    samples.push_back(std::move(sample));
  }
  return samples;
}

// The sum over an epoch's batches of the gradient of each batch's summed loss.
StepResult epoch_of(const ModelWeights& weights, AdapterSet& adapters, const Recipe& recipe, const std::vector<Batch>& batches) {
  Threads threads(2);
  TrainingEngine engine(weights, adapters, recipe, threads);
  engine.poison_buffers(true);
  if (recipe.prefix_cache != PrefixCache::kOff) engine.use_prefix_store(PrefixStore::in_memory(weights.spec().hidden_size));
  StepResult result;
  for (const Batch& batch : batches) result.loss += engine.forward_backward(batch, 1.0, 5);
  result.gradients.assign(engine.gradients(), engine.gradients() + engine.gradient_count());
  return result;
}

TEST(Packing, AnEpochIsTheSumOverItsSamples) {
  const TestFolder folder;
  for (const char* type : {"llama", "qwen2"}) {
    const ModelWeights weights = load_test_model({.model_type = type, .num_layers = 3}, folder / type);
    AdapterSet adapters = make_adapters(weights.spec(), {.num_layers = 2, .rank = 4});
    const std::vector<Sample> samples = random_samples({30, 7, 18, 44, 9, 25, 12, 50, 21, 6}, weights.spec().vocab_size);
    std::vector<Batch> alone;
    for (const Sample& sample : samples) alone.push_back(to_engine_batch({&sample}));
    PackedBatcher batcher(samples, 2, 60, 3);
    const std::vector<Batch> packed = batcher.next_epoch();
    ASSERT_EQ(packed.size(), 2U);  // 222 tokens in 4 rows of 60

    const StepResult expected = epoch_of(weights, adapters, {.threads = 2}, alone);
    expect_same(expected, epoch_of(weights, adapters, {.threads = 2}, packed), weights.spec(), "whole");
    expect_same(expected, epoch_of(weights, adapters, {.threads = 2, .micro_batch_tokens = 50}, packed), weights.spec(), "micro-batches");
    expect_same(expected, epoch_of(weights, adapters, {.threads = 2, .recompute = Recompute::kBlock}, packed), weights.spec(), "checkpointed");
    expect_same(expected, epoch_of(weights, adapters, {.threads = 2, .prefix_cache = PrefixCache::kMemory}, packed), weights.spec(), "cached");
    const StepResult again = epoch_of(weights, adapters, {.threads = 2, .micro_batch_tokens = 50}, packed);
    EXPECT_EQ(again.gradients, epoch_of(weights, adapters, {.threads = 2, .micro_batch_tokens = 50}, packed).gradients);
  }
}

}  // namespace
}  // namespace evolora
