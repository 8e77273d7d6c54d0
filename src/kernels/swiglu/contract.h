// Slot `swiglu`: act = silu(gate) * up (Shazeer 2020, arXiv 2002.05202), elementwise over (N, I).
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace evolora {

// gate, up -> act. count = N * I. act may alias gate or up.
struct SwigluForward {
  const float* gate;
  const float* up;
  std::int64_t count;
  float* act;
};

// d_act, gate, up -> d_gate, d_up. d_gate and d_up may alias gate, up or d_act elementwise (each element is read before it is written).
struct SwigluBackward {
  const float* d_act;
  const float* gate;
  const float* up;
  std::int64_t count;
  float* d_gate;
  float* d_up;
};

namespace reference {
void swiglu_forward(const SwigluForward& args, KernelContext& context);
void swiglu_backward(const SwigluBackward& args, KernelContext& context);
}  // namespace reference
namespace cpu {
void swiglu_forward(const SwigluForward& args, KernelContext& context);
void swiglu_backward(const SwigluBackward& args, KernelContext& context);
}  // namespace cpu

}  // namespace evolora
