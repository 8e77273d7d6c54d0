// The fused engine's training side: forward and backward over one planned arena. Adapter gradients accumulate; the optimizer is the caller's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/threads.h"
#include "data/batch.h"
#include "engine/program.h"
#include "engine/recipe.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// What determines a step's memory and time: token, supervised-row and segment counts, and the longest segment.
struct BatchShape {
  std::int64_t tokens = 0;
  std::int64_t supervised = 0;
  std::int64_t segments = 0;
  std::int64_t longest_segment = 0;
};
BatchShape shape_of(const Batch& batch);

// Memory the engine will use, exact, before the first step. All in bytes.
struct MemoryPlan {
  std::size_t arena_bytes = 0;    // activations, scratch, logits: one allocation
  std::size_t adapter_bytes = 0;  // parameters
  std::size_t gradient_bytes = 0;
  std::size_t weights_bytes = 0;  // mapped from the model folder, shared with the page cache
};

// Not thread-safe. Borrows weights, adapters and threads, which must outlive it.
class TrainingEngine {
 public:
  TrainingEngine(const ModelWeights& weights, AdapterSet& adapters, const Recipe& recipe, Threads& threads);
  ~TrainingEngine();

  // Exact arena bytes for a training pass / a loss-only pass over a batch of these segment lengths (after micro-batch splitting).
  std::size_t arena_bytes_for(const Batch& batch, bool training);
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
  void poison_buffers(bool on);  // tests: NaN into every buffer when its life begins, so that a wrong plan shows

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::vector<float> gradients_;
  std::size_t planned_arena_bytes_ = 0;
};

}  // namespace evolora
