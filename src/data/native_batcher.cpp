// Batches of samples of similar length: nothing is dropped, nothing is padded, and a batch never mixes the shortest with the longest.
#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "base/check.h"
#include "data/batcher.h"
#include "data/seeded_shuffle.h"

namespace evolora {

namespace {

// Samples whose lengths round up to the same multiple count as equally long and change places freely. As fine as mlx-lm's padding.
constexpr std::size_t kBucketTokens = 32;

class NativeBatcher : public Batcher {
 public:
  NativeBatcher(std::vector<Sample> samples, std::int64_t batch_size, std::uint64_t seed)
      : samples_(std::move(samples)), batch_size_(static_cast<std::size_t>(batch_size)), random_(seed), order_(samples_.size()) {
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) { return bucket(a) < bucket(b); });
  }

  std::int64_t batches_per_epoch() const override { return static_cast<std::int64_t>((samples_.size() + batch_size_ - 1) / batch_size_); }

  std::vector<Batch> next_epoch() override {
    for (auto begin = order_.begin(); begin != order_.end();) {
      const auto end = std::find_if(begin, order_.end(), [&](std::size_t index) { return bucket(index) != bucket(*begin); });
      seeded_shuffle(begin, end, random_);
      begin = end;
    }
    std::vector<Batch> out;
    for (std::size_t begin = 0; begin < order_.size(); begin += batch_size_) {
      std::vector<const Sample*> members;
      for (std::size_t i = begin; i < std::min(begin + batch_size_, order_.size()); ++i) members.push_back(&samples_[order_[i]]);
      out.push_back(to_engine_batch(members));
    }
    seeded_shuffle(out.begin(), out.end(), random_);
    return out;
  }

 private:
  std::size_t bucket(std::size_t index) const { return (samples_[index].tokens.size() + kBucketTokens - 1) / kBucketTokens; }

  std::vector<Sample> samples_;
  std::size_t batch_size_;
  std::mt19937_64 random_;
  std::vector<std::size_t> order_;  // sorted by bucket; each epoch goes on from the last one's order
};

}  // namespace

std::unique_ptr<Batcher> make_native_batcher(std::vector<Sample> samples, std::int64_t batch_size, std::uint64_t seed) {
  CHECK(batch_size >= 1);
  return std::make_unique<NativeBatcher>(std::move(samples), batch_size, seed);
}

}  // namespace evolora
