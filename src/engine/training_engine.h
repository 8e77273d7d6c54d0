// The fused engine's training side: forward and backward over one planned arena. Adapter gradients accumulate; the optimizer is the caller's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/threads.h"
#include "data/batch.h"
#include "engine/prefix_store.h"
#include "engine/program.h"
#include "engine/recipe.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// Exact arena bytes of the batches to come, without running anything. Knows which samples the prefix cache will have by then.
class ArenaPlanner {
 public:
  // use_prefix_store: the run will have one.
  ArenaPlanner(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, int threads, bool use_prefix_store);
  ~ArenaPlanner();
  // The next batch of the run (after micro-batch splitting), for training or for its loss only.
  void add(const Batch& batch, bool training);
  std::size_t arena_bytes() const;  // the most that any batch so far needs

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Not thread-safe. Borrows weights, adapters and threads, which must outlive it.
class TrainingEngine {
 public:
  TrainingEngine(const ModelWeights& weights, AdapterSet& adapters, const Recipe& recipe, Threads& threads);
  ~TrainingEngine();

  // Keeps hidden states below the first adapter for batches whose samples are named (Batch::segment_samples). Before the first step.
  void use_prefix_store(PrefixStore store);
  const PrefixStore* prefix_store() const;  // null: none

  // Exact arena bytes for a training pass / a loss-only pass over a batch of these segment lengths (after micro-batch splitting).
  std::size_t arena_bytes_for(const Batch& batch, bool training) const;
  // Plans for all batches to come and reserves the arena once. Batches seen later that need more grow it (and the plan was wrong: planned stays).
  void reserve(std::size_t arena_bytes);

  // Adds loss_scale * d(sum of cross-entropy)/d(parameters) to gradients() and returns the sum of cross-entropy over supervised tokens.
  // dropout_seed selects the masks (adapter dropout); the same seed gives the same masks. Not called with an empty batch.
  double forward_backward(const Batch& batch, double loss_scale, std::uint64_t dropout_seed);
  // Sum of cross-entropy without dropout or gradients.
  double loss_sum(const Batch& batch);
  // Logits (rows.size(), V) of the given token rows, no dropout.
  void logits(const Batch& batch, std::span<const std::int32_t> rows, float* out);

  float* gradients() { return gradients_.data(); }  // same layout as AdapterSet::parameters()
  std::size_t gradient_count() const { return gradients_.size(); }
  void zero_gradients();

  std::size_t planned_arena_bytes() const { return planned_arena_bytes_; }  // largest reserve()d
  std::size_t peak_arena_bytes() const;                                     // highest byte any step really used
  const CallCounts& call_counts() const;                                    // since construction
  double necessary_flops() const;                                           // of the training passes so far (cost_model.h)
  void poison_buffers(bool on);  // tests: NaN into every buffer when its life begins, so that a wrong plan shows

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::vector<float> gradients_;
  std::size_t planned_arena_bytes_ = 0;
};

}  // namespace evolora
