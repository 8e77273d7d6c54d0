// What the engine's tests share: batches and adapters of random values, one step with everything poisoned and checked, and the comparison of steps.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "engine/training_engine.h"
#include "model/test_model.h"

namespace evolora {

inline const Recipe kReference = {.threads = 1, .kernels = KernelSet::kReference};

inline Batch make_batch(const std::vector<int>& lengths, std::int64_t vocab, std::uint64_t seed, bool mask_some = true) {
  Batch batch;
  batch.segment_starts.push_back(0);
  const std::vector<float> values = test_values(4096, seed);
  std::size_t at = 0;
  for (const int length : lengths) {
    for (int i = 0; i < length; ++i) {
      const auto token = [&] { return static_cast<std::int32_t>((values[at++ % values.size()] + 1.0F) * 0.5F * static_cast<float>(vocab - 1)); };
      const auto row = static_cast<std::int32_t>(batch.tokens.size());
      batch.tokens.push_back(token());
      batch.positions.push_back(i);
      if (!mask_some || i >= length / 3) {
        batch.loss_rows.push_back(row);
        batch.targets.push_back(token());
      }
    }
    batch.segment_starts.push_back(static_cast<std::int32_t>(batch.tokens.size()));
  }
  batch.real_tokens = batch.token_count();
  return batch;
}

// The first tokens of segment 0 for all segments.
inline void begin_alike(Batch& batch, std::int64_t count) {
  for (std::int64_t s = 1; s < batch.segment_count(); ++s)
    std::copy_n(batch.tokens.begin(), count, batch.tokens.begin() + batch.segment_starts[static_cast<std::size_t>(s)]);
}

inline AdapterSet make_adapters(const ModelSpec& spec, const AdapterOptions& options) {
  AdapterSet set = std::move(AdapterSet::create(spec, options)).value();
  const std::vector<float> values = test_values(set.parameter_count(), 77);
  for (std::size_t i = 0; i < values.size(); ++i) set.parameters()[i] = 0.15F * values[i];
  return set;
}

struct StepResult {
  double loss = 0;
  std::vector<float> gradients;
};

inline StepResult run_step(const ModelWeights& weights, AdapterSet& adapters, const Recipe& recipe, const Batch& batch,
                           std::uint64_t dropout_seed = 5) {
  Threads threads(recipe.threads > 0 ? recipe.threads : 2);
  TrainingEngine engine(weights, adapters, recipe, threads);
  engine.poison_buffers(true);
  const std::size_t planned = engine.arena_bytes_for(batch, true);
  engine.reserve(planned);
  StepResult result;
  result.loss = engine.forward_backward(batch, 1.0 / static_cast<double>(batch.supervised_count()), dropout_seed);
  EXPECT_EQ(engine.peak_arena_bytes(), planned);
  result.gradients.assign(engine.gradients(), engine.gradients() + engine.gradient_count());
  return result;
}

inline double norm(const std::vector<float>& v) {
  double sum = 0;
  for (const float x : v) sum += static_cast<double>(x) * x;
  return std::sqrt(sum);
}

// fp32 rounding through L blocks of some 20 dependent sums each of K terms: errors add like a random walk, eps * sqrt(K * 20 * L) of the norm; 8 is
// headroom.
inline double rounding_bound(const ModelSpec& spec, double scale) {
  const double steps = 20.0 * static_cast<double>(spec.num_layers * std::max(spec.intermediate_size, spec.hidden_size));
  return 8.0 * std::numeric_limits<float>::epsilon() * std::sqrt(steps) * scale;
}

inline void expect_same(const StepResult& expected, const StepResult& got, const ModelSpec& spec, const char* what) {
  EXPECT_NEAR(expected.loss, got.loss, rounding_bound(spec, expected.loss)) << what;
  std::vector<float> difference = expected.gradients;
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= got.gradients[i];
  EXPECT_LE(norm(difference), rounding_bound(spec, norm(expected.gradients))) << what;
  EXPECT_GT(norm(expected.gradients), 0) << what;
}

}  // namespace evolora
