// Sorting, filtering, drawing.
#include "train/sampler.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.h"
#include "base/philox.h"

namespace evolora {

Status check_sampling(const SamplingOptions& options) {
  const auto wrong = [](const char* flag, const char* range, double got) {
    return Error{ErrorCode::kUsage, fmt::format("{}: expected {}, got {}", flag, range, got)};
  };
  if (!(options.temperature >= 0) || !std::isfinite(options.temperature)) return wrong("--temp", "a number, 0 or more", options.temperature);
  if (!(options.top_p >= 0 && options.top_p <= 1)) return wrong("--top-p", "a number in [0, 1]", options.top_p);
  if (!(options.min_p >= 0 && options.min_p <= 1)) return wrong("--min-p", "a number in [0, 1]", options.min_p);
  if (options.top_k < 0) return wrong("--top-k", "a whole number, 0 or more", static_cast<double>(options.top_k));
  return {};
}

double Sampler::next_uniform() {
  const auto bits = philox4x32(draws_++, options_.seed);
  // 53 bits: the whole mantissa of a double.
  const std::uint64_t wide = (static_cast<std::uint64_t>(bits[0]) << 21) ^ (bits[1] >> 11);
  return static_cast<double>(wide) * 0x1p-53;
}

std::int32_t Sampler::sample(std::span<const float> logits) {
  CHECK(!logits.empty());
  const auto best = static_cast<std::size_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  if (options_.temperature == 0) return static_cast<std::int32_t>(best);

  const auto top = static_cast<double>(logits[best]);
  // Kept tokens are a prefix of the order by probability: each filter shortens it. Without filters the order does not matter.
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto logit = [&](std::int32_t token) { return logits[static_cast<std::size_t>(token)]; };
  const bool filtered = (options_.top_p > 0 && options_.top_p < 1) || options_.min_p > 0 || options_.top_k > 0;
  if (filtered) std::stable_sort(order_.begin(), order_.end(), [&](std::int32_t a, std::int32_t b) { return logit(a) > logit(b); });
  std::size_t kept = order_.size();

  if (options_.top_p > 0 && options_.top_p < 1) {
    double total = 0;
    for (const float value : logits) total += std::exp(static_cast<double>(value) - top);
    double mass = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      mass += std::exp(static_cast<double>(logit(order_[i])) - top);
      if (mass >= options_.top_p * total) kept = i + 1;
    }
  }
  if (options_.min_p > 0) {
    const double threshold = top + std::log(options_.min_p);
    while (kept > 1 && static_cast<double>(logit(order_[kept - 1])) < threshold) --kept;
  }
  if (options_.top_k > 0) kept = std::min(kept, static_cast<std::size_t>(options_.top_k));

  cumulative_.clear();
  double total = 0;
  for (std::size_t i = 0; i < kept; ++i) {
    total += std::exp((static_cast<double>(logit(order_[i])) - top) / options_.temperature);
    cumulative_.push_back(total);
  }
  const double drawn = next_uniform() * total;
  const auto place = std::upper_bound(cumulative_.begin(), cumulative_.end(), drawn) - cumulative_.begin();
  return order_[std::min(static_cast<std::size_t>(place), kept - 1)];
}

}  // namespace evolora
