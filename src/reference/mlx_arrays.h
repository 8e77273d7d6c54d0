// Between our memory and MLX arrays. All copies: MLX's kernels want aligned memory of their own, which a mapped safetensors file is not.
#pragma once

#include <cstdint>
#include <span>

#include <mlx/mlx.h>

#include "base/dtype.h"

namespace evolora {

namespace mx = mlx::core;

// Sizes of a model or batch were checked when the engine was made; a larger one here is a bug.
mx::ShapeElem mlx_dim(std::int64_t size);
mx::Shape mlx_shape(std::initializer_list<std::int64_t> sizes);

// F32, F16, BF16, U32, I32.
mx::Dtype mlx_dtype(DType dtype);

// Copies of raw bytes (any alignment) and of host values.
mx::array mlx_copy(const std::byte* data, const mx::Shape& shape, mx::Dtype dtype);
mx::array mlx_floats(const float* values, const mx::Shape& shape);
mx::array mlx_ints(std::span<const std::int32_t> values, const mx::Shape& shape);

// Evaluates and copies fp32 values to out (array.size()).
void copy_floats(const mx::array& array, float* out);

}  // namespace evolora
