// Chooses the next token from logits: greedy, or temperature with top-p, min-p and top-k filters in mlx-lm's order and meaning.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace evolora {

struct SamplingOptions {
  double temperature = 0;  // 0: greedy (the first of the largest logits)
  double top_p = 1;  // in (0, 1): keep the smallest set of tokens with at least this probability together (Holtzman et al. 2020, arXiv 1904.09751)
  double min_p = 0;  // > 0: keep tokens at least this share as probable as the most probable
  std::int64_t top_k = 0;  // > 0: keep this many
  std::uint64_t seed = 0;
};

// kUsage naming the option (by its flag) that is out of range.
Status check_sampling(const SamplingOptions& options);

// Filters look at probabilities at temperature 1, as mlx-lm's do; the temperature only shapes the draw among the kept. Draws come from philox, so
// the same seed and logits give the same tokens on every machine. Not thread-safe.
class Sampler {
 public:
  explicit Sampler(const SamplingOptions& options) : options_(options) {}
  std::int32_t sample(std::span<const float> logits);

 private:
  double next_uniform();  // [0, 1)

  SamplingOptions options_;
  std::uint64_t draws_ = 0;
  std::vector<std::int32_t> order_;  // tokens, most probable first if a filter is on
  std::vector<double> cumulative_;
};

}  // namespace evolora
