// Samples or padded batches -> what the engine trains on.
#include <algorithm>

#include "base/check.h"
#include "data/batcher.h"

namespace evolora {

namespace {

// Appends one segment: the first input_count of tokens, and the supervised steps through add_target.
void open_segment(Batch& batch, const std::int32_t* tokens, std::size_t input_count) {
  for (std::size_t i = 0; i < input_count; ++i) {
    batch.tokens.push_back(tokens[i]);
    batch.positions.push_back(checked_cast<std::int32_t>(i));
  }
  batch.segment_starts.push_back(checked_cast<std::int32_t>(batch.tokens.size()));
}

// The token at index step of its sequence is learned, at the input before it.
void add_target(Batch& batch, std::int32_t segment_start, std::int64_t step, std::int32_t target) {
  batch.loss_rows.push_back(checked_cast<std::int32_t>(segment_start + step - 1));
  batch.targets.push_back(target);
}

}  // namespace

Batch to_engine_batch(const PaddedBatch& padded) {
  Batch batch;
  batch.segment_starts.push_back(0);
  for (std::int64_t row = 0; row < padded.rows; ++row) {
    const auto r = static_cast<std::size_t>(row);
    const std::int32_t* ids = padded.ids.data() + row * padded.width;
    batch.real_tokens += padded.lengths[r];
    // mlx-lm's mask (s >= offset) & (s <= length) over the targets s = 1 .. width - 1. s == length is the first pad, id 0.
    const std::int64_t first = std::max<std::int64_t>(padded.offsets[r], 1);
    const std::int64_t last = std::min(padded.lengths[r], padded.width - 1);
    if (first > last) continue;
    const std::int32_t start = batch.segment_starts.back();
    open_segment(batch, ids, static_cast<std::size_t>(last));
    batch.segment_samples.push_back(r < padded.samples.size() ? padded.samples[r] : -1);
    for (std::int64_t step = first; step <= last; ++step) add_target(batch, start, step, ids[step]);
  }
  return batch;
}

Batch to_engine_batch(const std::vector<const Sample*>& samples) {
  Batch batch;
  batch.segment_starts.push_back(0);
  for (const Sample* sample : samples) {
    batch.real_tokens += static_cast<std::int64_t>(sample->tokens.size());
    std::size_t last = sample->supervised.size();
    while (last > 0 && sample->supervised[last - 1] == 0) --last;
    if (last < 2) continue;
    const std::int32_t start = batch.segment_starts.back();
    open_segment(batch, sample->tokens.data(), last - 1);
    batch.segment_samples.push_back(sample->id);
    for (std::size_t step = 1; step < last; ++step) {
      if (sample->supervised[step] != 0) add_target(batch, start, static_cast<std::int64_t>(step), sample->tokens[step]);
    }
  }
  return batch;
}

}  // namespace evolora
