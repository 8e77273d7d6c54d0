// One element of a stored weight, for reference kernels and tests: the definition that the fast decoders are judged by.
#pragma once

#include <cstdint>

#include "model/weight_view.h"

namespace evolora::reference {

// weight[row][column] in fp32; scale * q + bias with both operations rounded (no fused multiply-add), as MLX computes it.
inline float decoded_value(const WeightView& weight, std::int64_t row, std::int64_t column) {
  const auto element = static_cast<std::size_t>(row * weight.in + column);
  if (!weight.quantized()) return load_float(weight.dtype, weight.data, element);
  const auto q = static_cast<float>(stored_code(weight, row, column));
  const std::size_t group = element / static_cast<std::size_t>(weight.group_size);
  const float scaled = load_float(weight.dtype, weight.scales, group) * q;
  return scaled + load_float(weight.dtype, weight.biases, group);
}

}  // namespace evolora::reference
