// Greedy split in segment order.
#include "engine/batch_split.h"

#include <algorithm>

#include "base/check.h"

namespace evolora {
namespace {

Batch slice(const Batch& batch, std::size_t first_segment, std::size_t end_segment) {
  const std::int32_t begin = batch.segment_starts[first_segment];
  const std::int32_t end = batch.segment_starts[end_segment];
  Batch piece;
  piece.tokens.assign(batch.tokens.begin() + begin, batch.tokens.begin() + end);
  piece.positions.assign(batch.positions.begin() + begin, batch.positions.begin() + end);
  for (std::size_t s = first_segment; s <= end_segment; ++s) piece.segment_starts.push_back(batch.segment_starts[s] - begin);
  if (!batch.segment_samples.empty()) {
    piece.segment_samples.assign(batch.segment_samples.begin() + static_cast<std::ptrdiff_t>(first_segment),
                                 batch.segment_samples.begin() + static_cast<std::ptrdiff_t>(end_segment));
  }
  const auto rows_begin = std::lower_bound(batch.loss_rows.begin(), batch.loss_rows.end(), begin);
  const auto rows_end = std::lower_bound(rows_begin, batch.loss_rows.end(), end);
  for (auto row = rows_begin; row != rows_end; ++row) {
    piece.loss_rows.push_back(*row - begin);
    piece.targets.push_back(batch.targets[static_cast<std::size_t>(row - batch.loss_rows.begin())]);
  }
  piece.real_tokens = end - begin;
  return piece;
}

}  // namespace

std::vector<Batch> split_batch(const Batch& batch, std::int64_t max_tokens) {
  if (max_tokens <= 0 || batch.token_count() <= max_tokens) return {batch};
  std::vector<Batch> pieces;
  const auto segments = static_cast<std::size_t>(batch.segment_count());
  std::size_t first = 0;
  for (std::size_t end = 1; end <= segments; ++end) {
    const bool last = end == segments;
    const bool next_fits = !last && batch.segment_starts[end + 1] - batch.segment_starts[first] <= max_tokens;
    if (next_fits) continue;
    Batch piece = slice(batch, first, end);
    if (piece.supervised_count() > 0) pieces.push_back(std::move(piece));
    first = end;
  }
  return pieces;
}

}  // namespace evolora
