// How attention's backward is cut for threads: each (segment, kv head) is one unit, and units that are a large part of all work are split by query
// rows. Every split sums dk and dv of the keys it sees on its own; the sums are added in a fixed order, so results depend on the thread count but not
// on timing.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/panel.h"

namespace evolora {

// Rows [first, last) of one segment and kv head. All but the last split of a unit keep dk and dv in the workspace, (keys, C) each, at partial_offset
// floats.
struct BackwardItem {
  std::size_t segment;
  std::int64_t kv_head;
  std::int64_t first;
  std::int64_t last;
  std::int64_t keys;  // that its rows see
  bool is_last;
  std::size_t partial_offset;
};

struct BackwardPlan {
  std::vector<BackwardItem> items;
  std::size_t partial_floats = 0;
};

inline BackwardPlan plan_backward(std::span<const AttentionSegment> segments, std::int64_t heads, std::int64_t kv_heads, std::int64_t head_dim,
                                  int threads) {
  constexpr double kItemsPerThread = 2;  // enough to even out what other programs take
  constexpr std::int64_t kMaxSplits = 8;
  const std::int64_t group = heads / kv_heads;
  double work = 0;
  for (const AttentionSegment& s : segments) work += static_cast<double>(s.q_length) * static_cast<double>(s.q_length);
  BackwardPlan plan;
  for (std::size_t index = 0; index < segments.size(); ++index) {
    const std::int64_t length = segments[index].q_length;
    const std::int64_t rows = length * group;
    const double share = static_cast<double>(length) * static_cast<double>(length) / work;
    const std::int64_t panels = (rows + static_cast<std::int64_t>(kMaxPanelRows) - 1) / static_cast<std::int64_t>(kMaxPanelRows);
    const auto wanted = static_cast<std::int64_t>(std::ceil(threads * kItemsPerThread * share / static_cast<double>(kv_heads) - 1e-9));
    const std::int64_t splits = threads == 1 ? 1 : std::clamp<std::int64_t>(wanted, 1, std::min(kMaxSplits, panels));
    for (std::int64_t kv_head = 0; kv_head < kv_heads; ++kv_head) {
      std::int64_t first = 0;
      for (std::int64_t split = 0; split < splits; ++split) {
        // Row r costs r / group keys, so equal work ends at the square root of the share; whole panels each.
        const double end = static_cast<double>(panels) * std::sqrt(static_cast<double>(split + 1) / static_cast<double>(splits));
        const bool is_last = split + 1 == splits;
        const std::int64_t last =
            is_last ? rows : std::min(rows, static_cast<std::int64_t>(std::lround(end)) * static_cast<std::int64_t>(kMaxPanelRows));
        if (last <= first && !is_last) continue;
        const std::int64_t keys = (last - 1) / group + 1;
        plan.items.push_back({index, kv_head, first, last, keys, is_last, plan.partial_floats});
        if (!is_last) plan.partial_floats += align_up(static_cast<std::size_t>(2 * keys * head_dim) * sizeof(float)) / sizeof(float);
        first = last;
      }
    }
  }
  return plan;
}

}  // namespace evolora
