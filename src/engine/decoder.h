// The fused engine's generation side: a KV cache and the forward pass over new tokens only.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/threads.h"
#include "engine/recipe.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// Not thread-safe. Borrows weights, adapters (may be null: base model) and threads.
class Decoder {
 public:
  // capacity_tokens: longest prompt + answer; the cache is (L, 2, capacity, G*C) fp32.
  Decoder(const ModelWeights& weights, const AdapterSet* adapters, const Recipe& recipe, Threads& threads, std::int64_t capacity_tokens);
  ~Decoder();

  // Feeds tokens (at least one; cached + tokens <= capacity) and returns the logits (V) after the last one, valid until the next call.
  std::span<const float> feed(std::span<const std::int32_t> tokens);
  std::int64_t cached_tokens() const;
  void reset();  // forget everything fed

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace evolora
