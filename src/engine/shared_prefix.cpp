// Copies by segment; sums by row.
#include "engine/shared_prefix.h"

#include <algorithm>

namespace evolora {

void repeat_shared_rows(const Batch& batch, std::int64_t width, const float* x, float* out, Threads& threads) {
  threads.for_each(static_cast<std::size_t>(batch.segment_count()), [&](std::size_t index, int) {
    const auto s = static_cast<std::int64_t>(index);
    float* to = std::copy_n(x, batch.tokens_before(s) * width, out + batch.key_start(s) * width);
    std::copy_n(x + batch.segment_starts[index] * width, batch.own_tokens(s) * width, to);
  });
}

void sum_shared_rows(const Batch& batch, std::int64_t width, const float* d_out, float* dx, Threads& threads) {
  threads.for_each(static_cast<std::size_t>(batch.segment_count()), [&](std::size_t index, int) {
    const auto s = static_cast<std::int64_t>(index);
    const float* own = d_out + (batch.key_start(s) + batch.tokens_before(s)) * width;
    std::int64_t first = 0;
    if (s == 0) {
      first = batch.shared_tokens;  // summed by rows below
      own += first * width;
    }
    std::copy_n(own, (batch.own_tokens(s) - first) * width, dx + (batch.segment_starts[index] + first) * width);
  });
  threads.for_each(static_cast<std::size_t>(batch.shared_tokens), [&](std::size_t row, int) {
    const auto at = static_cast<std::int64_t>(row);
    float* to = std::copy_n(d_out + at * width, width, dx + at * width) - width;
    for (std::int64_t s = 1; s < batch.segment_count(); ++s) {
      const float* from = d_out + (batch.key_start(s) + at) * width;
      for (std::int64_t i = 0; i < width; ++i) to[i] += from[i];
    }
  });
}

}  // namespace evolora
