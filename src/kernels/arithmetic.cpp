// Names, and what a weight allows.
#include "kernels/arithmetic.h"

namespace evolora {

const char* arithmetic_name(Arithmetic arithmetic) {
  static constexpr const char* kNames[kArithmeticCount] = {"fp32", "bf16", "int8"};
  return kNames[static_cast<std::size_t>(arithmetic)];
}

Arithmetic arithmetic_for(const WeightView& weight, Arithmetic wanted) {
  return wanted == Arithmetic::kInt8 && !weight.quantized() ? Arithmetic::kFp32 : wanted;
}

Arithmetic head_arithmetic(const WeightView& weight, Arithmetic wanted) {
  const Arithmetic possible = arithmetic_for(weight, wanted);
  return possible == Arithmetic::kInt8 ? Arithmetic::kBf16 : possible;
}

}  // namespace evolora
