// The candidate cuts, and the pieces of the chosen one.
#include "engine/batch_split.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "data/best_fit.h"

namespace evolora {
namespace {

Bins fill_in_order(const std::vector<std::int64_t>& lengths, std::int64_t max_tokens) {
  Bins bins;
  std::int64_t filled = 0;
  for (std::size_t s = 0; s < lengths.size(); ++s) {
    if (bins.empty() || filled + lengths[s] > max_tokens) {
      bins.emplace_back();
      filled = 0;
    }
    bins.back().push_back(s);
    filled += lengths[s];
  }
  return bins;
}

Bins choose_bins(const std::vector<std::int64_t>& lengths, std::int64_t max_tokens) {
  Bins best = fill_in_order(lengths, max_tokens);
  std::int64_t best_largest = largest_bin(lengths, best);
  const auto offer = [&](Bins bins) {
    std::erase_if(bins, [](const std::vector<std::size_t>& bin) { return bin.empty(); });
    const std::int64_t largest = largest_bin(lengths, bins);
    if (std::pair(bins.size(), largest) >= std::pair(best.size(), best_largest)) return;
    best = std::move(bins);
    best_largest = largest;
  };
  offer(pack_best_fit(lengths, max_tokens));
  Bins even = pack_evenly(lengths, best.size());
  // Evenness knows no limit, and beside a segment that is too long by itself another may seem to have room.
  if (std::all_of(even.begin(), even.end(), [&](const auto& bin) { return bin.size() < 2 || largest_bin(lengths, {bin}) <= max_tokens; })) {
    offer(std::move(even));
  }
  return best;
}

// The named segments, in ascending order, as a batch.
Batch gather(const Batch& batch, const std::vector<std::size_t>& segments) {
  Batch piece;
  piece.segment_starts.push_back(0);
  for (const std::size_t s : segments) {
    const std::int32_t begin = batch.segment_starts[s];
    const std::int32_t end = batch.segment_starts[s + 1];
    const auto shift = static_cast<std::int32_t>(piece.tokens.size()) - begin;
    std::copy(batch.tokens.begin() + begin, batch.tokens.begin() + end, std::back_inserter(piece.tokens));
    std::copy(batch.positions.begin() + begin, batch.positions.begin() + end, std::back_inserter(piece.positions));
    piece.segment_starts.push_back(end + shift);
    if (!batch.segment_samples.empty()) piece.segment_samples.push_back(batch.segment_samples[s]);
    const auto first_row = std::lower_bound(batch.loss_rows.begin(), batch.loss_rows.end(), begin);
    for (auto row = first_row; row != batch.loss_rows.end() && *row < end; ++row) {
      piece.loss_rows.push_back(*row + shift);
      piece.targets.push_back(batch.targets[static_cast<std::size_t>(row - batch.loss_rows.begin())]);
    }
  }
  piece.real_tokens = piece.token_count();
  return piece;
}

}  // namespace

std::vector<Batch> split_batch(const Batch& batch, std::int64_t max_tokens) {
  if (max_tokens <= 0 || batch.token_count() <= max_tokens) return {batch};
  std::vector<std::int64_t> lengths;
  for (std::size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) lengths.push_back(batch.segment_starts[s + 1] - batch.segment_starts[s]);
  std::vector<Batch> pieces;
  for (std::vector<std::size_t>& segments : choose_bins(lengths, max_tokens)) {
    std::sort(segments.begin(), segments.end());
    Batch piece = gather(batch, segments);
    if (piece.supervised_count() > 0) pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace evolora
