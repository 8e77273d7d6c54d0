// How attention's backward is cut for threads: each (segment, kv head) is one unit, and units that are a large part of all work are split by query
// rows. Every split sums dk and dv of the keys it sees on its own; the sums are added in a fixed order, so results depend on the thread count but not
// on timing. Inside a split, keys come in chunks that stay in L2 while all its rows pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/attention/panel.h"

namespace evolora {

// Rows [first, last) of one segment and kv head, which see keys [first_key, end_key) of the segment. All but the last split of a unit keep dk and dv
// of these keys in the workspace, (keys, C) each, at partial_offset floats.
struct BackwardItem {
  std::size_t segment;
  std::int64_t kv_head;
  std::int64_t first;
  std::int64_t last;
  std::int64_t first_key;
  std::int64_t end_key;
  bool is_last;
  std::size_t partial_offset;

  std::int64_t keys() const { return end_key - first_key; }
};

struct BackwardPlan {
  std::vector<BackwardItem> items;
  std::size_t partial_floats = 0;
};

// k, v, dk and dv of a chunk are 4 x 128 KiB, half of a 1 MiB L2, beside 100 KiB for the panel that passes. Measured at 2048 tokens: half of it costs
// 4 % (each panel is packed again for each chunk), twice as much wins 1 %.
constexpr std::size_t kChunkFloats = 32768;

// Keys per chunk, whole blocks, for rows of `padded` floats.
inline std::size_t backward_chunk_keys(std::size_t padded) { return std::max(kKeyBlock, kChunkFloats / padded / kKeyBlock * kKeyBlock); }

// Floats of one of the four for rows of at most `padded` floats (instruction sets with short vectors pad less).
inline std::size_t backward_chunk_floats(std::size_t padded) { return std::max(kKeyBlock * padded, kChunkFloats); }

// Keys that the first `positions` positions see, one by one and summed.
inline double keys_seen(double positions, double window) {
  if (window == 0 || positions <= window) return positions * positions / 2;
  return window * window / 2 + (positions - window) * window;
}

// The inverse: how many positions see so many keys.
inline double positions_that_see(double keys, double window) {
  if (window == 0 || keys <= window * window / 2) return std::sqrt(2 * keys);
  return window + (keys - window * window / 2) / window;
}

// Keys before the segment's first query.
inline std::int64_t keys_before(const AttentionSegment& s) { return s.kv_length - s.q_length; }

// The same of a segment's queries.
inline double keys_seen(const AttentionSegment& s, double window) {
  return keys_seen(static_cast<double>(s.kv_length), window) - keys_seen(static_cast<double>(keys_before(s)), window);
}

inline BackwardPlan plan_backward(const AttentionBackward& args, int threads) {
  constexpr double kItemsPerThread = 2;  // enough to even out what other programs take
  constexpr std::int64_t kMaxSplits = 8;
  constexpr auto kPanelRows = static_cast<std::int64_t>(kMaxPanelRows);
  const std::int64_t group = args.heads / args.kv_heads;
  const auto window = static_cast<double>(args.window);
  double work = 0;
  for (const AttentionSegment& s : args.segments) work += keys_seen(s, window);
  BackwardPlan plan;
  for (std::size_t index = 0; index < args.segments.size(); ++index) {
    const AttentionSegment& segment = args.segments[index];
    const std::int64_t before = keys_before(segment);
    const std::int64_t rows = segment.q_length * group;
    const double unit_work = keys_seen(segment, window);
    const double work_before = keys_seen(static_cast<double>(before), window);
    const std::int64_t panels = (rows + kPanelRows - 1) / kPanelRows;
    const auto wanted =
        static_cast<std::int64_t>(std::ceil(threads * kItemsPerThread * unit_work / work / static_cast<double>(args.kv_heads) - 1e-9));
    const std::int64_t splits = threads == 1 ? 1 : std::clamp<std::int64_t>(wanted, 1, std::min(kMaxSplits, panels));
    for (std::int64_t kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
      std::int64_t first = 0;
      for (std::int64_t split = 0; split < splits; ++split) {
        // Equal work, whole panels each.
        const double position = positions_that_see(work_before + unit_work * static_cast<double>(split + 1) / static_cast<double>(splits), window);
        const double end = (position - static_cast<double>(before)) * static_cast<double>(group) / static_cast<double>(kPanelRows);
        const bool is_last = split + 1 == splits;
        const std::int64_t last = is_last ? rows : std::min(rows, static_cast<std::int64_t>(std::lround(end)) * kPanelRows);
        if (last <= first && !is_last) continue;
        BackwardItem item{.segment = index,
                          .kv_head = kv_head,
                          .first = first,
                          .last = last,
                          .first_key = first_visible_key(before + first / group, args.window),
                          .end_key = before + (last - 1) / group + 1,
                          .is_last = is_last,
                          .partial_offset = plan.partial_floats};
        if (!is_last) plan.partial_floats += align_up(static_cast<std::size_t>(2 * item.keys() * args.head_dim) * sizeof(float)) / sizeof(float);
        plan.items.push_back(item);
        first = last;
      }
    }
  }
  return plan;
}

}  // namespace evolora
