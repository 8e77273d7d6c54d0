// One element of a stored weight, the plain way: what every decoder is judged by, and what runs where there is no SIMD.
#pragma once

#include <cstddef>
#include <cstdint>

#include "model/weight_view.h"

namespace evolora {

// weight[row][column], exact for dense weights, scale * q + bias in fp64 for quantized ones.
inline double weight_value(const WeightView& weight, std::int64_t row, std::int64_t column) {
  if (!weight.quantized()) return load_float(weight.dtype, weight.data, static_cast<std::size_t>(row * weight.in + column));
  const std::uint32_t q = stored_code(weight, row, column);
  const auto group = static_cast<std::size_t>(row * (weight.in / weight.group_size) + column / weight.group_size);
  return static_cast<double>(load_float(weight.dtype, weight.scales, group)) * q +
         static_cast<double>(load_float(weight.dtype, weight.biases, group));
}

}  // namespace evolora
