// The candidate cuts, and the pieces of the chosen one.
#include "engine/batch_split.h"

#include <algorithm>
#include <iterator>
#include <numeric>
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

// How many tokens the named segments begin with alike: none of them supervised, and each segment has more.
std::int32_t common_prefix(const Batch& batch, const std::vector<std::size_t>& segments) {
  if (segments.size() < 2) return 0;
  const auto begin_of = [&](std::size_t s) { return batch.segment_starts[s]; };
  const std::int32_t first = begin_of(segments.front());
  auto common = static_cast<std::int32_t>(batch.own_tokens(static_cast<std::int64_t>(segments.front())) - 1);
  for (const std::size_t s : segments) {
    const std::int32_t begin = begin_of(s);
    const auto row = std::lower_bound(batch.loss_rows.begin(), batch.loss_rows.end(), begin);
    if (row != batch.loss_rows.end()) common = std::min(common, *row - begin);
    common = std::min(common, batch.segment_starts[s + 1] - begin - 1);
    std::int32_t same = 0;
    const auto at = [](std::int32_t i) { return static_cast<std::size_t>(i); };
    while (same < common && batch.tokens[at(begin + same)] == batch.tokens[at(first + same)] &&
           batch.positions[at(begin + same)] == batch.positions[at(first + same)]) {
      ++same;
    }
    common = same;
  }
  return common < kLeastShared ? 0 : common;
}

// The named segments, in ascending order, as a batch.
Batch gather(const Batch& batch, const std::vector<std::size_t>& segments, std::int32_t shared) {
  Batch piece;
  piece.shared_tokens = shared;
  piece.segment_starts.push_back(0);
  for (const std::size_t s : segments) {
    const std::int32_t begin = batch.segment_starts[s] + (s == segments.front() ? 0 : shared);
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
    piece.real_tokens += batch.segment_starts[s + 1] - batch.segment_starts[s];
  }
  return piece;
}

std::vector<std::size_t> all_segments(const Batch& batch) {
  std::vector<std::size_t> all(static_cast<std::size_t>(batch.segment_count()));
  std::iota(all.begin(), all.end(), std::size_t{0});
  return all;
}

}  // namespace

std::int32_t common_prefix(const Batch& batch) { return common_prefix(batch, all_segments(batch)); }

std::vector<Batch> split_batch(const Batch& batch, std::int64_t max_tokens, bool share_prefix) {
  CHECK(batch.shared_tokens == 0);
  const std::vector<std::size_t> all = all_segments(batch);
  const std::int32_t shared = share_prefix ? common_prefix(batch, all) : 0;
  const std::int64_t repeated = shared * (batch.segment_count() - 1);
  if (max_tokens <= 0 || batch.token_count() - repeated <= max_tokens) {
    if (shared == 0) return {batch};
    return {gather(batch, all, shared)};
  }
  // A piece has the shared tokens once.
  std::vector<std::int64_t> lengths;
  for (const std::size_t s : all) lengths.push_back(batch.own_tokens(static_cast<std::int64_t>(s)) - shared);
  std::vector<Batch> pieces;
  for (std::vector<std::size_t>& segments : choose_bins(lengths, std::max<std::int64_t>(1, max_tokens - shared))) {
    std::sort(segments.begin(), segments.end());
    // A few segments may have more in common than all.
    Batch piece = gather(batch, segments, share_prefix ? common_prefix(batch, segments) : 0);
    if (piece.supervised_count() > 0) pieces.push_back(std::move(piece));
  }
  return pieces;
}

}  // namespace evolora
