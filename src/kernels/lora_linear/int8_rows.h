// Activations quantized to 8 bits per row and group, as kernels/arithmetic.h defines it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace evolora::gemm {

// x (rows, depth) is about scales[g][row] * (data[g][row][j] + second[g][row][j] / 254) for element j of group g. All arrays live in the caller's
// workspace. What a tile of rows needs of a group lies side by side; scales and sums are padded to row_stride, so that a tile of 8 that begins with
// any row may read on past the last.
struct Int8Rows {
  std::int64_t rows = 0;
  std::int64_t depth = 0;  // a multiple of group
  std::int64_t group = 0;
  std::int8_t* data = nullptr;     // (depth / group, rows, group), in [-127, 127]
  std::int8_t* second = nullptr;   // (depth / group, rows, group), in [-127, 127]; in groups that are not coarse undefined, and meant to be zero
  std::uint8_t* coarse = nullptr;  // (depth / group, row_stride) 1: the group is coarse, see kernels/arithmetic.h; padding 0
  float* scales = nullptr;         // (depth / group, row_stride), padding 0
  float* sums = nullptr;  // (depth / group, row_stride) scale * sum of the group's data and second / 254: what a weight's bias is multiplied with

  std::int64_t groups() const { return depth / group; }
  std::int64_t row_stride() const { return (rows + 7 + 15) / 16 * 16; }
};

// Fills all arrays from x (rows, depth).
void quantize_rows(const float* x, const Int8Rows& out, Threads& threads);

}  // namespace evolora::gemm
