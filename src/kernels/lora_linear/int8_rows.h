// Activations quantized to 8 bits per row and group, as kernels/arithmetic.h defines it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace evolora::gemm {

// x (rows, depth) is about scales[row][g] * (data[row][k] + second[row][k] / 254) for k in group g. All arrays live in the caller's workspace.
struct Int8Rows {
  std::int64_t rows = 0;
  std::int64_t depth = 0;  // a multiple of group
  std::int64_t group = 0;
  std::int8_t* data = nullptr;     // (rows, depth), in [-127, 127]
  std::int8_t* second = nullptr;   // (rows, depth), in [-127, 127]; all zero in groups that are not coarse
  std::uint8_t* coarse = nullptr;  // (rows, depth / group) 1: the group is coarse, see kernels/arithmetic.h
  float* scales = nullptr;         // (rows, depth / group)
  float* sums = nullptr;           // (rows, depth / group) scale * sum of the group's data and second / 254: what a weight's bias is multiplied with

  std::int64_t groups() const { return depth / group; }
};

// Fills all arrays from x (rows, depth).
void quantize_rows(const float* x, const Int8Rows& out, Threads& threads);

}  // namespace evolora::gemm
