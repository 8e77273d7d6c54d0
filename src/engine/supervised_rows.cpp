// Copies by row, shared out by segment.
#include "engine/supervised_rows.h"

#include <algorithm>

namespace evolora {
namespace {

// copy(row in 0..M-1, token) for every supervised row of segment s.
template <typename Copy>
void for_rows_of(const Batch& batch, std::size_t s, const Copy& copy) {
  const auto first = std::lower_bound(batch.loss_rows.begin(), batch.loss_rows.end(), batch.segment_starts[s]);
  for (auto row = first; row != batch.loss_rows.end() && *row < batch.segment_starts[s + 1]; ++row) {
    copy(row - batch.loss_rows.begin(), static_cast<std::int64_t>(*row));
  }
}

}  // namespace

bool picks_supervised_rows(const Batch& batch, const AdapterSet& adapters) {
  constexpr std::int64_t kWorthOneOf = 16;  // a sixteenth fewer rows saves more than the copies cost
  if (kWorthOneOf * batch.supervised_count() > (kWorthOneOf - 1) * batch.token_count()) return false;
  // Without adapters the last block lies below the first adapted one, whose states the prefix cache keeps for all tokens.
  return !adapters.modules().empty() && !adapters.has_dropout();
}

void pick_supervised_rows(const Batch& batch, std::int64_t width, const float* x, float* out, Threads& threads) {
  threads.for_each(static_cast<std::size_t>(batch.segment_count()), [&](std::size_t s, int) {
    for_rows_of(batch, s, [&](std::int64_t row, std::int64_t token) { std::copy_n(x + token * width, width, out + row * width); });
  });
}

void place_supervised_rows(const Batch& batch, std::int64_t width, const float* x, float* out, Threads& threads) {
  threads.for_each(static_cast<std::size_t>(batch.segment_count()), [&](std::size_t s, int) {
    std::fill_n(out + batch.segment_starts[s] * width, batch.own_tokens(static_cast<std::int64_t>(s)) * width, 0.0F);
    for_rows_of(batch, s, [&](std::int64_t row, std::int64_t token) { std::copy_n(x + row * width, width, out + token * width); });
  });
}

}  // namespace evolora
