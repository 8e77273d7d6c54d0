// In which arithmetic the products with base weights are computed, and the count of what really was.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "model/weight_view.h"

namespace evolora {

// Unit roundoff: fp32 2^-24. bf16 2^-8 of each factor (both are rounded, to nearest even; products and sums are fp32).
// int8: activations are quantized, weights are exact: for each row and quantization group of the weight, x is replaced by s * q with s = max|x| / 127
// and q = x / s rounded to a whole number, an error of at most s / 2 per element. Groups that are coarse for their row (is_coarse) keep a second
// number r: x is replaced by s * (q + r / 254), an error of at most s / 508, for twice the multiplications. Integer sums inside a group are exact,
// across groups fp32.
enum class Arithmetic : int { kFp32, kBf16, kInt8 };
inline constexpr int kArithmeticCount = 3;
const char* arithmetic_name(Arithmetic arithmetic);  // "fp32", "bf16", "int8"

// What a product with this weight is computed in when `wanted` is asked for: int8 needs a quantized weight, a dense one stays fp32.
Arithmetic arithmetic_for(const WeightView& weight, Arithmetic wanted);

// Activations have heavy tails: gate times up, and the channels that norms amplify. Where s exceeds 0.03 of the root mean square of the row, rounding
// to 8 bits would be what the loss notices, so each row is off by less than 0.03 / sqrt(12) = 0.9 % of its norm (rounding errors taken as uniform).
// SmolLM2-135M in 4 bits, answers of examples/json_extraction before training: without second numbers the loss is 1.4 % (group 32) and 1.2 % (64)
// above that of fp32, at 0.05 0.4 % and 0.0 %, at 0.03 0.2 % below and 0.1 % above, with all of them the same.
// largest: max|x| of the group; squares: sum of x^2 over the row, fp64, so that the order of summation changes no decision.
inline constexpr double kCoarseStep = 0.03;
inline bool is_coarse(float largest, double squares, std::int64_t depth) {
  const double limit = 127 * kCoarseStep;
  return static_cast<double>(largest) * static_cast<double>(largest) * static_cast<double>(depth) > limit * limit * squares;
}

// Of the head when `wanted` is asked for: int8 means bf16 for it.
Arithmetic head_arithmetic(const WeightView& weight, Arithmetic wanted);

// Products with base weights (projections, not calls) by direction and arithmetic, counted by the kernel that computed them.
struct AppliedArithmetic {
  std::array<std::uint64_t, kArithmeticCount> forward{};
  std::array<std::uint64_t, kArithmeticCount> backward{};
  void add_forward(Arithmetic a) { ++forward[static_cast<std::size_t>(a)]; }
  void add_backward(Arithmetic a) { ++backward[static_cast<std::size_t>(a)]; }
  bool operator==(const AppliedArithmetic&) const = default;
};

}  // namespace evolora
