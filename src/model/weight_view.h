// A linear layer's frozen weight as it is stored (quantized or dense), not owned: the kernels read it in place, usually from a mapped file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"

namespace evolora {

// weight (out, in). bits == 0: dense, data is (out, in) of dtype. bits 4 or 8: MLX affine, data is uint32 words (out, in*bits/32) packed little-end
// first, scales and biases (out, in/group_size) of dtype; value = scale * q + bias. No alignment is promised:
// the data of a safetensors file begins anywhere (mlx pads nothing), so kernels read bytes or use unaligned loads.
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

}  // namespace evolora
