// Three passes over each group, which stays in L1: maximum, rounding, sum.
#include "kernels/lora_linear/int8_rows.h"

#include <algorithm>

#include "kernels/lora_linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lora_linear/int8_rows.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

#include "kernels/lora_linear/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// Bit patterns of magnitudes are in the order of the magnitudes, with Inf and NaN above all numbers, which a float maximum would lose.
HWY_INLINE float largest_magnitude(const float* x, std::int64_t count) {
  const DU du;
  const DF df;
  VU largest = hn::Zero(du);
  for (std::int64_t k = 0; k < count; k += kLanes) {
    largest = hn::Max(largest, hn::And(hn::BitCast(du, hn::LoadU(df, x + k)), hn::Set(du, 0x7FFFFFFFu)));
  }
  return hn::GetLane(hn::BitCast(df, hn::MaxOfLanes(du, largest)));
}

void quantize_row(const float* x, std::int64_t row, const Int8Rows& out) {
  constexpr float kNothing = 0x1p-100f;  // below, 127 / max could overflow
  const DF df;
  const DI di;
  std::int8_t* to = out.data + row * out.depth;
  for (std::int64_t g = 0; g < out.groups(); ++g) {
    const float* from = x + row * out.depth + g * out.group;
    const float largest = largest_magnitude(from, out.group);
    const bool nothing = largest < kNothing;
    const VF factor = hn::Set(df, nothing ? 0.0f : 127.0f / largest);
    hn::Vec<DI> sum = hn::Zero(di);
    for (std::int64_t k = 0; k < out.group; k += kLanes, to += kLanes) {
      const hn::Vec<DI> q = hn::NearestInt(hn::Mul(hn::LoadU(df, from + k), factor));
      sum = hn::Add(sum, q);
      hn::StoreU(hn::DemoteTo(hn::Rebind<std::int8_t, DI>(), q), hn::Rebind<std::int8_t, DI>(), to);
    }
    const float scale = nothing ? 0.0f : largest / 127.0f;
    out.scales[row * out.groups() + g] = scale;
    out.sums[row * out.groups() + g] = scale * static_cast<float>(hn::GetLane(hn::SumOfLanes(di, sum)));
  }
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora::gemm {

HWY_EXPORT(quantize_row);

void quantize_rows(const float* x, const Int8Rows& out, Threads& threads) {
  constexpr std::int64_t kRows = 16;  // some 10 us
  const auto quantize = HWY_DYNAMIC_DISPATCH(quantize_row);
  const std::int64_t blocks = (out.rows + kRows - 1) / kRows;
  threads.for_each(static_cast<std::size_t>(blocks), [&](std::size_t b, int) {
    const std::int64_t first = static_cast<std::int64_t>(b) * kRows;
    for (std::int64_t row = first; row < std::min(first + kRows, out.rows); ++row) quantize(x, row, out);
  });
}

}  // namespace evolora::gemm
#endif
