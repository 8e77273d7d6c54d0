// How the adapters of a group share scratch matrices: their ranks laid side by side, those without dropout first so that they can share one product
// over x.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/context.h"
#include "kernels/lora_linear/contract.h"

namespace evolora::gemm {

// One adapter and where its columns (or rows) begin in a matrix of all ranks.
struct AdapterSlot {
  const LoraProjection* projection;
  std::int64_t first;
};

struct AdapterLayout {
  std::vector<AdapterSlot> plain;    // no dropout
  std::vector<AdapterSlot> dropped;  // with dropout
  std::int64_t plain_rank = 0;       // sum of ranks
  std::int64_t total_rank = 0;
};

inline AdapterLayout adapter_layout(std::span<const LoraProjection> projections) {
  AdapterLayout layout;
  for (const bool dropped : {false, true}) {
    for (const LoraProjection& p : projections) {
      if (p.rank == 0 || (p.dropout > 0) != dropped) continue;
      (dropped ? layout.dropped : layout.plain).push_back({&p, layout.total_rank});
      layout.total_rank += p.rank;
    }
    if (!dropped) layout.plain_rank = layout.total_rank;
  }
  return layout;
}

// body(slot, j, i) for every column i of [begin, end) of the shared matrix, j being the column within its adapter.
template <typename Body>
void for_each_rank(std::span<const AdapterSlot> slots, std::int64_t begin, std::int64_t end, const Body& body) {
  for (const AdapterSlot& slot : slots) {
    const std::int64_t last = std::min(end, slot.first + slot.projection->rank);
    for (std::int64_t i = std::max(begin, slot.first); i < last; ++i) body(slot, i - slot.first, i);
  }
}

// Hands out pieces of the workspace. With a null base it only counts, and hands out null.
class Scratch {
 public:
  explicit Scratch(std::byte* base) : base_(base) {}
  float* floats(std::int64_t count) { return take<float>(count); }
  template <typename T>
  T* take(std::int64_t count) {
    std::byte* at = here();
    bytes_ += align_up(static_cast<std::size_t>(count) * sizeof(T));
    return reinterpret_cast<T*>(at);
  }
  std::byte* here() const { return base_ == nullptr ? nullptr : base_ + bytes_; }
  std::size_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  std::size_t bytes_ = 0;
};

// Null stays null: shapes can be planned before there is any data.
template <typename T>
T* offset(T* pointer, std::int64_t count) {
  return pointer == nullptr ? nullptr : pointer + count;
}

}  // namespace evolora::gemm
