// Copies in and out.
#include "reference/mlx_arrays.h"

#include <cstring>

#include "base/check.h"

namespace evolora {

mx::ShapeElem mlx_dim(std::int64_t size) { return checked_cast<mx::ShapeElem>(size); }

mx::Shape mlx_shape(std::initializer_list<std::int64_t> sizes) {
  mx::Shape shape;
  for (const std::int64_t size : sizes) shape.push_back(mlx_dim(size));
  return shape;
}

mx::Dtype mlx_dtype(DType dtype) {
  switch (dtype) {
    case DType::kF32: return mx::float32;
    case DType::kF16: return mx::float16;
    case DType::kBF16: return mx::bfloat16;
    case DType::kU32: return mx::uint32;
    case DType::kI32: return mx::int32;
    default: CHECK(false);
  }
}

mx::array mlx_copy(const std::byte* data, const mx::Shape& shape, mx::Dtype dtype) {
  std::size_t bytes = mx::size_of(dtype);
  for (const mx::ShapeElem size : shape) bytes *= static_cast<std::size_t>(size);
  mx::array array(mx::allocator::malloc(bytes), shape, dtype);
  std::memcpy(array.data<char>(), data, bytes);
  return array;
}

mx::array mlx_floats(const float* values, const mx::Shape& shape) { return mlx_copy(reinterpret_cast<const std::byte*>(values), shape, mx::float32); }

mx::array mlx_ints(std::span<const std::int32_t> values, const mx::Shape& shape) {
  return mlx_copy(reinterpret_cast<const std::byte*>(values.data()), shape, mx::int32);
}

void copy_floats(const mx::array& array, float* out) {
  mx::array plain = mx::contiguous(mx::astype(array, mx::float32));
  plain.eval();
  std::memcpy(out, plain.data<float>(), plain.size() * sizeof(float));
}

}  // namespace evolora
