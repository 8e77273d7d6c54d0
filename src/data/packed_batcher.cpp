// Rows by best fit, anew each epoch; a batch is some rows side by side.
#include <algorithm>
#include <numeric>
#include <utility>

#include "base/check.h"
#include "data/batcher.h"
#include "data/best_fit.h"
#include "data/seeded_shuffle.h"

namespace evolora {

PackedBatcher::PackedBatcher(std::vector<Sample> samples, std::int64_t batch_size, std::int64_t row_tokens, std::uint64_t seed)
    : samples_(std::move(samples)), batch_size_(batch_size), row_tokens_(row_tokens), random_(seed) {
  CHECK(batch_size >= 1);
  for (const Sample& sample : samples_) {
    lengths_.push_back(static_cast<std::int64_t>(sample.tokens.size()));
    CHECK(lengths_.back() <= row_tokens_);
  }
  rows_per_epoch_ = static_cast<std::int64_t>(pack_best_fit(lengths_, row_tokens_).size());
}

double PackedBatcher::fill_rate() const {
  if (rows_per_epoch_ == 0) return 1.0;
  const double tokens =
      std::accumulate(lengths_.begin(), lengths_.end(), 0.0, [](double sum, std::int64_t length) { return sum + static_cast<double>(length); });
  return tokens / static_cast<double>(rows_per_epoch_ * row_tokens_);
}

std::vector<Batch> PackedBatcher::next_epoch() {
  std::vector<std::size_t> order(samples_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  seeded_shuffle(order.begin(), order.end(), random_);
  Bins rows = pack_best_fit(lengths_, row_tokens_, std::move(order));
  CHECK(static_cast<std::int64_t>(rows.size()) == rows_per_epoch_);
  seeded_shuffle(rows.begin(), rows.end(), random_);

  std::vector<Batch> out;
  const auto size = static_cast<std::size_t>(batch_size_);
  for (std::size_t begin = 0; begin < rows.size(); begin += size) {
    std::vector<const Sample*> members;
    for (std::size_t row = begin; row < std::min(begin + size, rows.size()); ++row) {
      for (const std::size_t index : rows[row]) members.push_back(&samples_[index]);
    }
    out.push_back(to_engine_batch(members));
  }
  return out;
}

}  // namespace evolora
