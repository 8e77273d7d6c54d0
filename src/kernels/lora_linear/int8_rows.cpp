// A pass over the row for its sum of squares, then two over each group, which stays in L1: maximum; rounding and sums.
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

// fp64, in 16 partial sums that a compiler keeps in vectors.
HWY_INLINE double sum_of_squares(const float* x, std::int64_t count) {
  constexpr std::int64_t kParts = 16;  // divides every group
  double parts[kParts] = {};
  for (std::int64_t k = 0; k < count; k += kParts) {
    for (std::int64_t j = 0; j < kParts; ++j) parts[j] += static_cast<double>(x[k + j]) * static_cast<double>(x[k + j]);
  }
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

// The rounded group, the sum of its data and that of its second numbers.
struct GroupSums {
  std::int32_t first, second;
};
template <bool kCoarse>
HWY_INLINE GroupSums quantize_group(const float* x, std::int64_t count, float factor, std::int8_t* data, std::int8_t* second) {
  const DF df;
  const DI di;
  const hn::Rebind<std::int8_t, DI> d8;
  hn::Vec<DI> sum = hn::Zero(di);
  hn::Vec<DI> second_sum = hn::Zero(di);
  for (std::int64_t k = 0; k < count; k += kLanes) {
    const VF value = hn::Mul(hn::LoadU(df, x + k), hn::Set(df, factor));
    const hn::Vec<DI> q = hn::NearestInt(value);
    sum = hn::Add(sum, q);
    hn::StoreU(hn::DemoteTo(d8, q), d8, data + k);
    if constexpr (kCoarse) {
      const hn::Vec<DI> r = hn::NearestInt(hn::Mul(hn::Sub(value, hn::ConvertTo(df, q)), hn::Set(df, 254.0f)));
      second_sum = hn::Add(second_sum, r);
      hn::StoreU(hn::DemoteTo(d8, r), d8, second + k);
    }
  }
  return {hn::GetLane(hn::SumOfLanes(di, sum)), hn::GetLane(hn::SumOfLanes(di, second_sum))};
}

void quantize_row(const float* x, std::int64_t row, const Int8Rows& out) {
  constexpr float kNothing = 0x1p-100f;  // below, 127 / max could overflow
  const float* values = x + row * out.depth;
  const double squares = sum_of_squares(values, out.depth);
  const std::int64_t stride = out.row_stride();
  std::int64_t to = row;
  std::int64_t at = row * out.group;
  for (std::int64_t k = 0; k < out.depth; k += out.group, to += stride, at += out.rows * out.group) {
    const float largest = largest_magnitude(values + k, out.group);
    const bool nothing = largest < kNothing;
    const bool coarse = !nothing && is_coarse(largest, squares, out.depth);
    const float factor = nothing ? 0.0f : 127.0f / largest;
    const GroupSums sums = coarse ? quantize_group<true>(values + k, out.group, factor, out.data + at, out.second + at)
                                  : quantize_group<false>(values + k, out.group, factor, out.data + at, out.second + at);
    const float scale = nothing ? 0.0f : largest / 127.0f;
    out.coarse[to] = coarse ? 1 : 0;
    out.scales[to] = scale;
    out.sums[to] = scale * (static_cast<float>(sums.first) + static_cast<float>(sums.second) / 254.0f);
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
  for (std::int64_t g = 0; g < out.groups(); ++g) {
    for (std::int64_t at = g * out.row_stride() + out.rows; at < (g + 1) * out.row_stride(); ++at) {
      out.coarse[at] = 0;
      out.scales[at] = out.sums[at] = 0;
    }
  }
  const std::int64_t blocks = (out.rows + kRows - 1) / kRows;
  threads.for_each(static_cast<std::size_t>(blocks), [&](std::size_t b, int) {
    const std::int64_t first = static_cast<std::int64_t>(b) * kRows;
    for (std::int64_t row = first; row < std::min(first + kRows, out.rows); ++row) quantize(x, row, out);
  });
}

}  // namespace evolora::gemm
#endif
