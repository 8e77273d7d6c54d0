// Slot `storage`: activations that wait for the backward pass in bf16. Narrowed after their last use forward, widened before their first use
// backward.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace evolora {

// x (count) fp32 -> out (count) bf16 bits, rounded to nearest even; NaN stays NaN. No aliasing.
struct Narrow {
  const float* x;
  std::int64_t count;
  std::uint16_t* out;
};

// x (count) bf16 bits -> out (count) fp32, exact. No aliasing.
struct Widen {
  const std::uint16_t* x;
  std::int64_t count;
  float* out;
};

namespace reference {
void narrow(const Narrow& args, KernelContext& context);
void widen(const Widen& args, KernelContext& context);
}  // namespace reference
namespace cpu {
void narrow(const Narrow& args, KernelContext& context);
void widen(const Widen& args, KernelContext& context);
}  // namespace cpu

}  // namespace evolora
