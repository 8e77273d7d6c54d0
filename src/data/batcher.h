// Samples -> batches, epoch after epoch: length buckets or packed rows (native), or mlx-lm's order and composition (compat).
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "base/numpy_random.h"
#include "base/result.h"
#include "data/batch.h"
#include "data/samples.h"

namespace evolora {

// The engine's view of one padded mlx-lm batch: each row's tokens up to its last counted target, mask (s >= offset) & (s <= length), pad target
// included.
Batch to_engine_batch(const PaddedBatch& padded);
// The engine's view of some samples; trailing tokens after a sample's last supervised one are left out (they influence nothing).
Batch to_engine_batch(const std::vector<const Sample*>& samples);

// Batches of samples forever, in epochs. Single-threaded.
class Batcher {
 public:
  virtual ~Batcher() = default;
  virtual std::int64_t batches_per_epoch() const = 0;
  // Share of the tokens that batches have room for which samples fill; 1 if batches have no fixed room.
  virtual double fill_rate() const { return 1.0; }
  // The batches of the next epoch, as sample lists (native) or padded (compat), made into engine batches. Advances the random stream.
  virtual std::vector<Batch> next_epoch() = 0;
};

// Native: samples sorted by length into batches of batch_size (the last may be smaller), batches formed anew each epoch from a seeded shuffle inside
// length buckets, batch order shuffled; every sample exactly once an epoch. Own seeded generator: `random` is not touched.
std::unique_ptr<Batcher> make_native_batcher(std::vector<Sample> samples, std::int64_t batch_size, std::uint64_t seed);

// Native, packed: an epoch's samples fill rows of row_tokens tokens by best fit (best_fit.h), whole and each exactly once; batch_size rows make a
// batch (the last may have fewer). A sample keeps its own segment and positions, so it is learned from exactly as if it were alone. Which rows make a
// batch, and which of equally long samples goes where, changes with the seed and from epoch to epoch; how many rows there are does not.
class PackedBatcher : public Batcher {
 public:
  // row_tokens: at least the longest sample's tokens (checked).
  PackedBatcher(std::vector<Sample> samples, std::int64_t batch_size, std::int64_t row_tokens, std::uint64_t seed);
  std::int64_t batches_per_epoch() const override { return (rows_per_epoch_ + batch_size_ - 1) / batch_size_; }
  std::vector<Batch> next_epoch() override;
  double fill_rate() const override;
  std::int64_t rows_per_epoch() const { return rows_per_epoch_; }

 private:
  std::vector<Sample> samples_;
  std::vector<std::int64_t> lengths_;  // of the samples, in tokens
  std::int64_t batch_size_;
  std::int64_t row_tokens_;
  std::int64_t rows_per_epoch_ = 0;
  std::mt19937_64 random_;
};

// Compat: contract 1.2. Uses the shared numpy stream (train and each evaluation draw from the same one). kBadData if fewer samples than batch_size.
// The padded batches of an epoch are also available for tests.
class CompatBatcher : public Batcher {
 public:
  static Result<std::unique_ptr<CompatBatcher>> create(std::vector<Sample> samples, std::int64_t batch_size, std::int64_t max_seq_length,
                                                       NumpyRandom& random);
  std::int64_t batches_per_epoch() const override;
  std::vector<Batch> next_epoch() override;
  std::vector<PaddedBatch> next_epoch_padded();

 private:
  CompatBatcher(std::vector<Sample> samples, std::int64_t batch_size, std::int64_t max_seq_length, NumpyRandom& random);
  std::vector<Sample> samples_;
  std::vector<std::vector<std::size_t>> batches_;  // sample indices
  std::int64_t max_seq_length_;
  NumpyRandom& random_;
};

}  // namespace evolora
