// In which arithmetic the products with base weights are computed, and the count of what really was.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "model/weight_view.h"

namespace evolora {

// Unit roundoff: fp32 2^-24. bf16 2^-8 of each factor (both are rounded, to nearest even; products and sums are fp32).
// int8: activations are quantized, weights are exact: for each row and quantization group of the weight, x is replaced by s * q with s = max|x| / 127
// and q = x / s rounded to a whole number, an error of at most max|x| / 254 per element. Integer sums inside a group are exact, across groups fp32.
enum class Arithmetic : int { kFp32, kBf16, kInt8 };
inline constexpr int kArithmeticCount = 3;
const char* arithmetic_name(Arithmetic arithmetic);  // "fp32", "bf16", "int8"

// What a product with this weight is computed in when `wanted` is asked for: int8 needs a quantized weight, a dense one stays fp32.
Arithmetic arithmetic_for(const WeightView& weight, Arithmetic wanted);

// Products with base weights (projections, not calls) by direction and arithmetic, counted by the kernel that computed them.
struct AppliedArithmetic {
  std::array<std::uint64_t, kArithmeticCount> forward{};
  std::array<std::uint64_t, kArithmeticCount> backward{};
  void add_forward(Arithmetic a) { ++forward[static_cast<std::size_t>(a)]; }
  void add_backward(Arithmetic a) { ++backward[static_cast<std::size_t>(a)]; }
  bool operator==(const AppliedArithmetic&) const = default;
};

}  // namespace evolora
