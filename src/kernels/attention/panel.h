// How attention cuts its work: the (position, head of the group) rows of one segment and kv head, in this order, are cut into panels that fill SIMD
// lanes. So grouped heads share every key and value that is loaded, decoding one position still fills lanes, and little is computed above the
// diagonal.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "kernels/attention/contract.h"

namespace evolora {

constexpr std::size_t kMaxHeadDim = 256;
constexpr std::size_t kMaxPanelRows = 48;  // 3 vectors of 16 lanes
// Keys per block: scores of a panel (48 x 64 fp32 = 12 KiB), the packed queries and the output tile (12 KiB each at head_dim 64) share a 32 KiB L1 or
// stream from L2, and the FMA loops are long enough to hide their starts.
constexpr std::size_t kKeyBlock = 64;

struct Panel {
  std::size_t rows;
  std::ptrdiff_t offset[kMaxPanelRows];      // of the row in an (N, H, C) array
  std::ptrdiff_t lse_offset[kMaxPanelRows];  // in an (N, H) array
  std::int32_t first_key[kMaxPanelRows];     // the first and the last key of the segment that the row sees; both grow with r
  std::int32_t last_key[kMaxPanelRows];
};

// The first key that a query at position `last_key` sees.
inline std::int64_t first_visible_key(std::int64_t last_key, std::int64_t window) {
  return window == 0 ? 0 : std::max<std::int64_t>(0, last_key - window + 1);
}

// rows [first, first + count) of segment s and kv head g, count <= kMaxPanelRows.
inline Panel make_panel(const AttentionSegment& s, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t window,
                        std::int64_t kv_head, std::int64_t first, std::int64_t count) {
  const std::int64_t group = heads / kv_heads;
  Panel panel;
  panel.rows = static_cast<std::size_t>(count);
  for (std::size_t r = 0; r < kMaxPanelRows; ++r) {
    const std::int64_t row = first + std::min<std::int64_t>(static_cast<std::int64_t>(r), count - 1);
    const std::int64_t position = row / group;
    const std::int64_t at = (s.q_start + position) * heads + kv_head * group + row % group;
    panel.lse_offset[r] = at;
    panel.offset[r] = at * head_dim;
    const std::int64_t last_key = position + s.kv_length - s.q_length;
    panel.first_key[r] = static_cast<std::int32_t>(first_visible_key(last_key, window));
    panel.last_key[r] = static_cast<std::int32_t>(last_key);
  }
  return panel;
}

}  // namespace evolora
