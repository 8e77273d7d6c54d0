// Dropout of a stretch of a row, the mask computed by vectors (base/philox.h is the definition; the test compares them element by element).
#include <cstdint>

#include <hwy/highway.h>

#include "base/philox.h"
#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_DROPOUT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_DROPOUT_INL_H_
#undef EVOLORA_LORA_LINEAR_DROPOUT_INL_H_
#else
#define EVOLORA_LORA_LINEAR_DROPOUT_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
// Philox4x32-10 of one counter per 64-bit lane; gives the 4 * lanes random words in counter order, as two vectors.
// Only the low half of a lane counts (MulEven reads no more), so the upper halves may hold anything until the end.
struct RandomWords {
  VU low, high;
};
HWY_INLINE RandomWords philox_words(std::uint64_t first_counter, std::uint64_t key) {
  const hn::ScalableTag<std::uint64_t> d64;
  const DU d32;
  constexpr std::size_t kCounters = kLanes / 2;
  // Even lanes take the first half of the counters, odd lanes the second, so that interleaving 64-bit halves within 16-byte blocks restores the
  // order.
  HWY_ALIGN std::uint64_t counters[kCounters];
  for (std::size_t i = 0; i < kCounters; ++i) counters[i] = first_counter + i / 2 + (i % 2) * (kCounters / 2);
  auto c0 = hn::Load(d64, counters);
  auto c1 = hn::ShiftRight<32>(c0);
  auto c2 = hn::Zero(d64);
  auto c3 = hn::Zero(d64);
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  const auto m0 = hn::Set(d32, 0xD2511F53u);
  const auto m1 = hn::Set(d32, 0xCD9E8D57u);
  for (int round = 0; round < 10; ++round) {
    const auto p0 = hn::MulEven(hn::BitCast(d32, c0), m0);
    const auto p1 = hn::MulEven(hn::BitCast(d32, c2), m1);
    c0 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p1), c1), hn::Set(d64, k0));
    c1 = p1;
    c2 = hn::Xor(hn::Xor(hn::ShiftRight<32>(p0), c3), hn::Set(d64, k1));
    c3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const auto low_half = hn::Set(d64, 0xFFFFFFFFu);
  const auto words01 = hn::Or(hn::And(c0, low_half), hn::ShiftLeft<32>(c1));
  const auto words23 = hn::Or(hn::And(c2, low_half), hn::ShiftLeft<32>(c3));
  return {hn::BitCast(d32, hn::InterleaveLower(d64, words01, words23)), hn::BitCast(d32, hn::InterleaveUpper(d64, words01, words23))};
}
#endif

// out[i] = x[i] / (1 - p) if element first_index + i is kept, else 0. out may be x.
inline void dropout_row(const float* x, float* out, std::uint64_t first_index, std::int64_t count, std::uint64_t key, float p) {
  const float scale = 1.0f / (1.0f - p);
  std::int64_t i = 0;
  const auto one = [&] {
    out[i] = dropout_keeps(key, first_index + static_cast<std::uint64_t>(i), p) ? x[i] * scale : 0.0f;
    ++i;
  };
#if HWY_TARGET != HWY_SCALAR
  while (i < count && (first_index + static_cast<std::uint64_t>(i)) % 4 != 0) one();
  const DF df;
  const DU d32;
  // bits >= p * 2^32 for an integer is bits >= its ceiling, which fits since p <= 1 - 2^-24.
  const double limit = static_cast<double>(p) * 4294967296.0;
  auto ceiling = static_cast<std::uint32_t>(limit);
  if (static_cast<double>(ceiling) < limit) ++ceiling;
  const auto threshold = hn::Set(d32, ceiling);
  const auto factor = hn::Set(df, scale);
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    const RandomWords words = philox_words((first_index + static_cast<std::uint64_t>(i)) / 4, key);
    const auto drop_low = hn::RebindMask(df, hn::Lt(words.low, threshold));
    const auto drop_high = hn::RebindMask(df, hn::Lt(words.high, threshold));
    hn::StoreU(hn::IfThenZeroElse(drop_low, hn::Mul(hn::LoadU(df, x + i), factor)), df, out + i);
    hn::StoreU(hn::IfThenZeroElse(drop_high, hn::Mul(hn::LoadU(df, x + i + kLanes), factor)), df, out + i + kLanes);
  }
#endif
  while (i < count) one();
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_DROPOUT_INL_H_
