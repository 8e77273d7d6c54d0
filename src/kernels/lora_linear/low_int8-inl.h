// Rows of a strip in int8: a group of the depth at a time, whose integer sums are scaled into fp32 totals that stay in L1. Rows that keep second
// numbers in a group (kernels/arithmetic.h) are gathered into tiles of their own, so that only they pay for them.
#include <algorithm>
#include <cstdint>

#include <hwy/highway.h>

#include "kernels/lora_linear/int8_rows.h"
#include "kernels/lora_linear/low_tile-inl.h"
#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_LOW_INT8_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_LOW_INT8_INL_H_
#undef EVOLORA_LORA_LINEAR_LOW_INT8_INL_H_
#else
#define EVOLORA_LORA_LINEAR_LOW_INT8_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// Their totals, of a strip 3 vectors wide, are 9 KB: a quarter of L1.
inline constexpr std::int64_t kInt8RowsTogether = 48;

// total += scale of row * scale of column * sum of products + sum of row * bias of column, for 8 rows of one group.
template <bool kIntegers, int kVectors>
HWY_INLINE void int8_group(const LowTile& tile, const Int8Scales& at) {
#ifdef EVOLORA_DOT_INSTRUCTIONS
  if constexpr (kIntegers) return int8_dot_group<kVectors>(tile, at);
#endif
  const DF df;
  HWY_ALIGN float products[kLowRows * kVectors * kLanes];
  widened_steps<true, kVectors>(tile, products);
  for (int i = 0; i < kLowRows; ++i) {
    const VF row_scale = hn::Set(df, at.row_scales[i]);
    const VF row_sum = hn::Set(df, at.row_sums[i]);
    for (int v = 0; v < kVectors; ++v) {
      float* total = at.totals + (i * kVectors + v) * kLanes;
      const VF scale = hn::Mul(hn::Load(df, at.scales + v * kLanes), row_scale);
      const VF sum = hn::MulAdd(hn::Load(df, products + (i * kVectors + v) * kLanes), scale, hn::Load(df, total));
      hn::Store(hn::MulAdd(hn::Load(df, at.biases + v * kLanes), row_sum, sum), df, total);
    }
  }
}

// total += scale of row / 254 * scale of column * sum of products of second numbers, for the first `count` rows of a tile; totals[i] is row i's.
template <bool kIntegers, int kVectors>
HWY_INLINE void int8_second(const LowTile& tile, const float* scales, const float* row_scales, float* const* totals, int count) {
  const DF df;
  HWY_ALIGN float products[kLowRows * kVectors * kLanes];
  int8_steps<kIntegers, kVectors>(count)(tile, products);
  for (int i = 0; i < count; ++i) {
    const VF row_scale = hn::Set(df, row_scales[i] * (1.0f / 254));
    for (int v = 0; v < kVectors; ++v) {
      VF dot = hn::Load(df, products + (i * kVectors + v) * kLanes);
      if constexpr (kIntegers) dot = hn::ConvertTo(df, hn::BitCast(DI(), dot));
      float* total = totals[i] + v * kLanes;
      hn::Store(hn::MulAdd(dot, hn::Mul(hn::Load(df, scales + v * kLanes), row_scale), hn::Load(df, total)), df, total);
    }
  }
}

// The rows of [row0, row1) that are coarse in the group, into out; how many.
HWY_INLINE int coarse_rows(const Int8Rows& x, std::int64_t g, std::int64_t row0, std::int64_t row1, std::int64_t* out) {
  int count = 0;
  const std::uint8_t* coarse = x.coarse + g * x.row_stride();
  for (std::int64_t row = row0; row < row1; ++row) {
    out[count] = row;
    count += coarse[row];
  }
  return count;
}

// What a strip is to int8 rows: the panel (steps, vectors * kLanes) of 4 bytes, scales and biases (groups, vectors * kLanes).
struct Int8Strip {
  const std::byte* panel;
  const float* scales;
  const float* biases;
};

// totals (kInt8RowsTogether, kVectors * kLanes), overwritten: rows [row0, row1) times the strip, over groups [g0, g1).
template <bool kIntegers, int kVectors>
void int8_rows_of(const Int8Strip& strip, const Int8Rows& x, std::int64_t row0, std::int64_t row1, std::int64_t g0, std::int64_t g1, float* totals) {
  constexpr std::int64_t kWidth = kVectors * kLanes;
  std::fill_n(totals, (row1 - row0 + kLowRows - 1) / kLowRows * kLowRows * kWidth, 0.0f);
  LowTile tile{.panel = strip.panel, .steps = x.group / 4};
  for (std::int64_t g = g0; g < g1; ++g, tile.panel += x.group * kWidth) {
    const float* scales = strip.scales + (g - g0) * kWidth;
    const float* biases = strip.biases + (g - g0) * kWidth;
    const float* row_scales = x.scales + g * x.row_stride();
    const float* row_sums = x.sums + g * x.row_stride();
    const auto* data = reinterpret_cast<const std::byte*>(x.data + g * x.rows * x.group);
    for (std::int64_t row = row0; row < row1; row += kLowRows) {
      // Rows that do not exist repeat the last one; their totals are dropped.
      for (int i = 0; i < kLowRows; ++i) tile.rows[i] = data + std::min(row + i, row1 - 1) * x.group;
      int8_group<kIntegers, kVectors>(tile, {scales, biases, totals + (row - row0) * kWidth, row_scales + row, row_sums + row});
    }
    std::int64_t coarse[kInt8RowsTogether];
    const int count = coarse_rows(x, g, row0, row1, coarse);
    const auto* second = reinterpret_cast<const std::byte*>(x.second + g * x.rows * x.group);
    for (int first = 0; first < count; first += kLowRows) {
      const int rows = std::min(kLowRows, count - first);
      float scale[kLowRows];
      float* total[kLowRows];
      for (int i = 0; i < kLowRows; ++i) {
        const std::int64_t row = coarse[first + std::min(i, rows - 1)];
        tile.rows[i] = second + row * x.group;
        scale[i] = row_scales[row];
        total[i] = totals + (row - row0) * kWidth;
      }
      int8_second<kIntegers, kVectors>(tile, scales, scale, total, rows);
    }
  }
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_LOW_INT8_INL_H_
