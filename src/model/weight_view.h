// A linear layer's frozen weight as it is stored (quantized or dense), not owned: the kernels read it in place, usually from a mapped file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/dtype.h"

namespace evolora {

// weight (out, in). bits == 0: dense, data is (out, in) of dtype. bits 2, 3, 4, 5, 6 or 8: MLX affine, data is uint32 words (out, in*bits/32), each
// row a bit stream, lowest bits first (codes of 3, 5 and 6 bits straddle words), scales and biases (out, in/group_size) of dtype; value = scale * q +
// bias. No alignment is promised: the data of a safetensors file begins anywhere (mlx pads nothing), so kernels read bytes or use unaligned loads.
struct WeightView {
  std::int64_t out = 0;
  std::int64_t in = 0;
  int bits = 0;
  int group_size = 0;
  DType dtype = DType::kF32;
  const std::byte* data = nullptr;
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;

  bool quantized() const { return bits != 0; }
};

// The code of weight[row][column] of a quantized weight, the plain way.
inline std::uint32_t stored_code(const WeightView& weight, std::int64_t row, std::int64_t column) {
  const std::int64_t bit = (row * weight.in + column) * weight.bits;
  const std::int64_t shift = bit % 8;
  std::uint32_t bytes = 0;  // a code of at most 8 bits is in one byte or two; the second may not exist if it is not needed
  std::memcpy(&bytes, weight.data + bit / 8, shift + weight.bits > 8 ? 2 : 1);
  return (bytes >> shift) & ((1u << weight.bits) - 1u);
}

}  // namespace evolora
