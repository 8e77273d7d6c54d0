// The inner kernel: a tile of kRows x (kVectors * lanes) of c stays in registers while it runs down the depth.
#include <cstdint>

#include <hwy/highway.h>

#include "kernels/lora_linear/vectors-inl.h"

#if defined(EVOLORA_LORA_LINEAR_MICRO_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_LORA_LINEAR_MICRO_KERNEL_INL_H_
#undef EVOLORA_LORA_LINEAR_MICRO_KERNEL_INL_H_
#else
#define EVOLORA_LORA_LINEAR_MICRO_KERNEL_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::gemm::HWY_NAMESPACE {

// Per step the tile needs kRows * kVectors accumulators, kVectors registers for the panel and one for the broadcast element of a.
// Measured on AVX-512: 8x3 and 6x4 reach 93-99 % of the FMA peak; two vectors wide is bound by loads (67-88 %), larger tiles spill.
// On AVX2 6x2 reaches 94-98 %.
#if HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_AVX3_DL || HWY_TARGET == HWY_NEON
inline constexpr int kRegisters = 32;
inline constexpr int kMaxVectors = 4;
#else
inline constexpr int kRegisters = 16;
inline constexpr int kMaxVectors = 2;
#endif
inline constexpr int kMaxRows = 8;
constexpr int tile_rows(int vectors) {
  const int fit = (kRegisters - 1 - vectors) / vectors;
  return fit < kMaxRows ? fit : kMaxRows;
}

// The widths a block of so many vectors is cut into: threes and fours where there are 32 registers, pairs where there are 16.
constexpr int panel_vectors(std::int64_t left) {
  if constexpr (kMaxVectors == 2) return left >= 2 ? 2 : 1;
  if (left % 3 == 0 || left == 5) return 3;
  return left >= 4 ? 4 : static_cast<int>(left);
}

// Rows of a for one depth segment, at the first row of the block.
struct Rows {
  const float* a;
  std::int64_t lda;
  std::int64_t depth;
};

struct TileArgs {
  const Rows* segments;
  std::size_t segment_count;
  std::int64_t row;    // of the tile, within the block
  const float* panel;  // (sum of depths, kVectors * lanes), vector-aligned
  // What the tile's sums are added to, row i at before + i * before_stride. They start from zero: an accumulator that ran on over the 50 000 terms
  // of a vocabulary would lose all terms below half a unit in its last place, a share of 1e-4 of a gradient.
  const float* before;
  std::int64_t before_stride;
  float* c;
  std::int64_t ldc;
};

// The unroll pragmas are what keeps acc in registers: without them and below -O3 the tile lives in memory at a tenth of the speed.
template <int kRows, int kVectors>
void compute_tile(const TileArgs& args) {
  const DF d;
  VF acc[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      acc[i][v] = hn::Zero(d);
      __builtin_prefetch(args.c + i * args.ldc + v * kLanes, 1);
    }
  }
  const float* HWY_RESTRICT panel = args.panel;
  for (std::size_t s = 0; s < args.segment_count; ++s) {
    const Rows& rows = args.segments[s];
    const float* HWY_RESTRICT a[kRows];
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) a[i] = rows.a + (args.row + i) * rows.lda;
    for (std::int64_t k = 0; k < rows.depth; ++k) {
      VF b[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) b[v] = hn::Load(d, panel + v * kLanes);
      panel += kVectors * kLanes;
#pragma GCC unroll 8
      for (int i = 0; i < kRows; ++i) {
        const VF x = hn::Set(d, a[i][k]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[i][v] = hn::MulAdd(x, b[v], acc[i][v]);
      }
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const VF before = hn::LoadU(d, args.before + i * args.before_stride + v * kLanes);
      hn::StoreU(hn::Add(before, acc[i][v]), d, args.c + i * args.ldc + v * kLanes);
    }
  }
}

using TileFunction = void (*)(const TileArgs&);

template <int kVectors>
TileFunction tile_function_for_rows(int rows) {
  static_assert(tile_rows(kVectors) >= 6);
  switch (rows) {
    case 1: return compute_tile<1, kVectors>;
    case 2: return compute_tile<2, kVectors>;
    case 3: return compute_tile<3, kVectors>;
    case 4: return compute_tile<4, kVectors>;
    case 5: return compute_tile<5, kVectors>;
    case 6: return compute_tile<6, kVectors>;
  }
  if constexpr (tile_rows(kVectors) >= 8) return rows == 7 ? compute_tile<7, kVectors> : compute_tile<8, kVectors>;
  return nullptr;
}

// One kernel per tile height and width. rows in [1, tile_rows(vectors)].
inline TileFunction tile_function(int rows, int vectors) {
  if (vectors == 1) return tile_function_for_rows<1>(rows);
  if (vectors == 2) return tile_function_for_rows<2>(rows);
  if constexpr (kMaxVectors == 4) return vectors == 3 ? tile_function_for_rows<3>(rows) : tile_function_for_rows<4>(rows);
  return nullptr;
}

}  // namespace evolora::gemm::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // EVOLORA_LORA_LINEAR_MICRO_KERNEL_INL_H_
