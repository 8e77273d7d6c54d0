// Element types of tensors on disk and in memory, and the scalar conversions between them.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace evolora {

enum class DType : std::uint8_t { kF32, kF16, kBF16, kF64, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kBool };

std::size_t dtype_size_bytes(DType dtype);
// safetensors spelling: "F32", "F16", "BF16", "U32", ...
std::string_view dtype_name(DType dtype);
inline bool dtype_is_float(DType d) { return d == DType::kF32 || d == DType::kF16 || d == DType::kBF16; }

inline float bf16_to_f32(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
// Round to nearest even; NaN stays NaN.
std::uint16_t f32_to_bf16(float value);
float f16_to_f32(std::uint16_t bits);
// Round to nearest even; overflow goes to infinity, as IEEE 754 says.
std::uint16_t f32_to_f16(float value);

// Element i of an array of a float dtype (F32, F16, BF16), as fp32.
float load_float(DType dtype, const void* data, std::size_t i);
// Store fp32 into element i of an array of a float dtype, rounding to nearest even.
void store_float(DType dtype, void* data, std::size_t i, float value);

}  // namespace evolora
