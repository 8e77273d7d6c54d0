// Register-tiled products for attention's small blocks, and transposes, on Highway vectors. Included once per target.
//
// A panel is up to 3 vectors of queries side by side; blocks are kept as (key or channel, query lane), so softmax needs no horizontal sums, masks are
// lane compares, and keys and values are read in place by broadcasts, never repacked. All queries of a kv head's group share a panel.
#include <cstddef>
#include <cstdint>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "kernels/attention/panel.h"

#if defined(EVOLORA_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EVOLORA_ATTENTION_TILE_INL_H_
#undef EVOLORA_ATTENTION_TILE_INL_H_
#else
#define EVOLORA_ATTENTION_TILE_INL_H_
#endif

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {
namespace attention {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes (kMaxPanelRows = 3 * 16).
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
using DI = hn::RebindToSigned<D>;

HWY_INLINE std::size_t lanes() { return hn::Lanes(D()); }

// Rows of a register tile that is `vectors` wide. The accumulators, one row of B and the broadcast must fit the register file: with 32 registers
// 8 x 3 + 3 + 1 = 28 and 6 x 4 + 4 + 1 = 29, with 16 registers 4 x 3 + 3 + 1 = 16 and 6 x 2 + 2 + 1 = 15. Wider beats taller: fewer loads per FMA.
#if HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3
constexpr int tile_rows(int vectors) { return vectors == 3 ? 4 : vectors == 2 ? 6 : 8; }
constexpr int kWidestTile = 2;
#else
constexpr int tile_rows(int vectors) { return vectors == 4 ? 6 : 8; }
constexpr int kWidestTile = 4;
#endif

// What a tile starts from: nothing, its destination, or its destination times one factor per lane.
enum class Start { kZero, kAdd, kScaleAndAdd };

struct Product {
  const float* a;  // rows x depth: element (r, k) at a[r * lda + k], or a[k * lda + r] if transposed
  std::size_t lda;
  const float* b;  // depth x width
  std::size_t ldb;
  std::size_t depth;
  Start start;
  const float* factors;  // width, for kScaleAndAdd
  float* c;              // rows x width
  std::size_t ldc;
};

template <int kRows, int kVectors, bool kTransposed>
HWY_NOINLINE void tile(const Product& product, const float* a, float* c) {
  const D d;
  const std::size_t n = lanes();
  V sums[kRows][kVectors];
  if (product.start == Start::kZero) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
    }
  } else {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::LoadU(d, c + static_cast<std::size_t>(r) * product.ldc + static_cast<std::size_t>(v) * n);
    }
  }
  if (product.start == Start::kScaleAndAdd) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const V factor = hn::LoadU(d, product.factors + static_cast<std::size_t>(v) * n);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) sums[r][v] = hn::Mul(sums[r][v], factor);
    }
  }
  const float* b = product.b;
  const std::size_t lda = product.lda;
  const std::size_t ldb = product.ldb;
  for (std::size_t k = 0; k < product.depth; ++k) {
    V row[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) row[v] = hn::LoadU(d, b + static_cast<std::size_t>(v) * n);
    b += ldb;
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const V x = hn::Set(d, kTransposed ? a[r] : a[static_cast<std::size_t>(r) * lda]);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(x, row[v], sums[r][v]);
    }
    a += kTransposed ? lda : 1;
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, c + static_cast<std::size_t>(r) * product.ldc + static_cast<std::size_t>(v) * n);
  }
}

template <int kRows, int kVectors, bool kTransposed>
HWY_INLINE void last_tile(std::size_t rows, const Product& product, const float* a, float* c) {
  if (rows == kRows) return tile<kRows, kVectors, kTransposed>(product, a, c);
  if constexpr (kRows > 1) last_tile<kRows - 1, kVectors, kTransposed>(rows, product, a, c);
}

// c (rows, kVectors * lanes) = start + a b, strip by strip of tile_rows.
template <int kVectors, bool kTransposed>
HWY_NOINLINE void multiply(std::size_t rows, const Product& product) {
  constexpr std::size_t kStrip = tile_rows(kVectors);
  const std::size_t a_step = kTransposed ? 1 : product.lda;
  std::size_t r = 0;
  for (; r + kStrip <= rows; r += kStrip)
    tile<static_cast<int>(kStrip), kVectors, kTransposed>(product, product.a + r * a_step, product.c + r * product.ldc);
  if (r < rows)
    last_tile<static_cast<int>(kStrip) - 1, kVectors, kTransposed>(rows - r, product, product.a + r * a_step, product.c + r * product.ldc);
}

// out_j[i] = in_i[j] * scale for i, j < 4.
HWY_INLINE void transpose_4x4(const float* in0, const float* in1, const float* in2, const float* in3, float scale, float* out0, float* out1,
                              float* out2, float* out3) {
#if HWY_TARGET == HWY_SCALAR
  const float* in[4] = {in0, in1, in2, in3};
  float* out[4] = {out0, out1, out2, out3};
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < 4; ++i) out[j][i] = in[i][j] * scale;
  }
#else
  const hn::CappedTag<float, 4> d4;
  const hn::Repartition<double, decltype(d4)> d2;
  const auto factor = hn::Set(d4, scale);
  const auto x0 = hn::Mul(hn::LoadU(d4, in0), factor);
  const auto x1 = hn::Mul(hn::LoadU(d4, in1), factor);
  const auto x2 = hn::Mul(hn::LoadU(d4, in2), factor);
  const auto x3 = hn::Mul(hn::LoadU(d4, in3), factor);
  const auto low01 = hn::BitCast(d2, hn::InterleaveLower(d4, x0, x1));
  const auto low23 = hn::BitCast(d2, hn::InterleaveLower(d4, x2, x3));
  const auto high01 = hn::BitCast(d2, hn::InterleaveUpper(d4, x0, x1));
  const auto high23 = hn::BitCast(d2, hn::InterleaveUpper(d4, x2, x3));
  hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, low01, low23)), d4, out0);
  hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, low01, low23)), d4, out1);
  hn::StoreU(hn::BitCast(d4, hn::InterleaveLower(d2, high01, high23)), d4, out2);
  hn::StoreU(hn::BitCast(d4, hn::InterleaveUpper(d2, high01, high23)), d4, out3);
#endif
}

// Asks for the panel's rows of x early: they are short runs far apart, which hardware prefetchers do not foresee.
inline void prefetch_rows(const Panel& panel, const float* x, std::size_t head_dim) {
  constexpr std::size_t kLine = 16;
  for (std::size_t r = 0; r < panel.rows; ++r) {
    for (std::size_t c = 0; c < head_dim; c += kLine) hwy::Prefetch(x + panel.offset[r] + c);
  }
}

// The panel's rows of x (N, H, C) as (C, lane), times scale; lanes without a query are zero.
inline void pack_transposed(const Panel& panel, const float* x, float scale, std::size_t head_dim, std::size_t width, float* out) {
  std::size_t r = 0;
  for (; r + 4 <= panel.rows; r += 4) {
    const float* in[4] = {x + panel.offset[r], x + panel.offset[r + 1], x + panel.offset[r + 2], x + panel.offset[r + 3]};
    std::size_t c = 0;
    for (; c + 4 <= head_dim; c += 4) {
      float* to = out + c * width + r;
      transpose_4x4(in[0] + c, in[1] + c, in[2] + c, in[3] + c, scale, to, to + width, to + 2 * width, to + 3 * width);
    }
    for (; c < head_dim; ++c) {
      for (std::size_t i = 0; i < 4; ++i) out[c * width + r + i] = in[i][c] * scale;
    }
  }
  for (; r < width; ++r) {
    for (std::size_t c = 0; c < head_dim; ++c)
      out[c * width + r] = r < panel.rows ? x[panel.offset[r] + static_cast<std::ptrdiff_t>(c)] * scale : 0.0f;
  }
}

// The inverse: rows of x from (C, lane), times scale; row r begins at offset[r].
inline void unpack_transposed(std::size_t rows, const std::ptrdiff_t* offset, const float* packed, float scale, std::size_t head_dim,
                              std::size_t width, float* x) {
  std::size_t r = 0;
  for (; r + 4 <= rows; r += 4) {
    float* out[4] = {x + offset[r], x + offset[r + 1], x + offset[r + 2], x + offset[r + 3]};
    std::size_t c = 0;
    for (; c + 4 <= head_dim; c += 4) {
      const float* from = packed + c * width + r;
      transpose_4x4(from, from + width, from + 2 * width, from + 3 * width, scale, out[0] + c, out[1] + c, out[2] + c, out[3] + c);
    }
    for (; c < head_dim; ++c) {
      for (std::size_t i = 0; i < 4; ++i) out[i][c] = packed[c * width + r + i] * scale;
    }
  }
  for (; r < rows; ++r) {
    for (std::size_t c = 0; c < head_dim; ++c) x[offset[r] + static_cast<std::ptrdiff_t>(c)] = packed[c * width + r] * scale;
  }
}

}  // namespace attention
}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
