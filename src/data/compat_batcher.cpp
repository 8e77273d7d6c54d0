// mlx-lm's iterate_batches: order, composition and padding (contract: trainer.py of mlx-lm 0.32).
#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "data/batcher.h"

namespace evolora {

namespace {

constexpr std::int64_t kPadTo = 32;

PaddedBatch pad(const std::vector<Sample>& samples, const std::vector<std::size_t>& indices, std::int64_t max_seq_length) {
  std::int64_t longest = 0;
  for (const std::size_t index : indices) longest = std::max(longest, static_cast<std::int64_t>(samples[index].tokens.size()));
  PaddedBatch out;
  out.rows = static_cast<std::int64_t>(indices.size());
  out.width = std::min(1 + kPadTo * ((longest + kPadTo - 1) / kPadTo), max_seq_length);
  out.ids.assign(static_cast<std::size_t>(out.rows * out.width), 0);
  for (std::size_t row = 0; row < indices.size(); ++row) {
    const Sample& sample = samples[indices[row]];
    const std::size_t length = std::min(sample.tokens.size(), static_cast<std::size_t>(max_seq_length));
    std::copy_n(sample.tokens.begin(), length, out.ids.begin() + static_cast<std::ptrdiff_t>(row) * out.width);
    out.offsets.push_back(sample.offset);
    out.samples.push_back(sample.id);
    out.lengths.push_back(static_cast<std::int64_t>(length));
  }
  return out;
}

}  // namespace

Result<std::unique_ptr<CompatBatcher>> CompatBatcher::create(std::vector<Sample> samples, std::int64_t batch_size, std::int64_t max_seq_length,
                                                             NumpyRandom& random) {
  if (batch_size < 1 || max_seq_length < 1) {
    return Error{ErrorCode::kUsage, fmt::format("batch_size and max_seq_length must be at least 1, got {} and {}", batch_size, max_seq_length)};
  }
  if (samples.size() < static_cast<std::size_t>(batch_size)) {
    return Error{ErrorCode::kBadData,
                 fmt::format("the dataset must have at least batch_size={} examples but only has {}", batch_size, samples.size())};
  }
  return std::unique_ptr<CompatBatcher>(new CompatBatcher(std::move(samples), batch_size, max_seq_length, random));
}

// mlx-lm means to sort by length, but its cache reports the number of keys of the raw record; the sort is stable, so uniform records keep the file's
// order. What does not fill a batch is never seen.
CompatBatcher::CompatBatcher(std::vector<Sample> samples, std::int64_t batch_size, std::int64_t max_seq_length, NumpyRandom& random)
    : samples_(std::move(samples)), max_seq_length_(max_seq_length), random_(random) {
  std::vector<std::size_t> order(samples_.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return samples_[a].top_level_keys < samples_[b].top_level_keys; });
  const auto size = static_cast<std::size_t>(batch_size);
  for (std::size_t begin = 0; begin + size <= order.size(); begin += size) {
    batches_.emplace_back(order.begin() + static_cast<std::ptrdiff_t>(begin), order.begin() + static_cast<std::ptrdiff_t>(begin + size));
  }
}

std::int64_t CompatBatcher::batches_per_epoch() const { return static_cast<std::int64_t>(batches_.size()); }

std::vector<PaddedBatch> CompatBatcher::next_epoch_padded() {
  std::vector<PaddedBatch> out;
  for (const std::int64_t index : random_.permutation(batches_per_epoch())) {
    out.push_back(pad(samples_, batches_[static_cast<std::size_t>(index)], max_seq_length_));
  }
  return out;
}

std::vector<Batch> CompatBatcher::next_epoch() {
  std::vector<Batch> out;
  for (const PaddedBatch& padded : next_epoch_padded()) out.push_back(to_engine_batch(padded));
  return out;
}

}  // namespace evolora
