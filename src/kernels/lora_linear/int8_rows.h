// Activations quantized to 8 bits per row and group, as kernels/arithmetic.h defines it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"

namespace evolora::gemm {

// x (rows, depth) is about scales[row][g] * data[row][k] for k in group g. All arrays live in the caller's workspace.
struct Int8Rows {
  std::int64_t rows = 0;
  std::int64_t depth = 0;  // a multiple of group
  std::int64_t group = 0;
  std::int8_t* data = nullptr;  // (rows, depth), in [-127, 127]
  float* scales = nullptr;      // (rows, depth / group)
  float* sums = nullptr;        // (rows, depth / group) scale * sum of the group's data: what a weight's bias is multiplied with

  std::int64_t groups() const { return depth / group; }
};

// Fills data, scales and sums from x (rows, depth).
void quantize_rows(const float* x, const Int8Rows& out, Threads& threads);

}  // namespace evolora::gemm
