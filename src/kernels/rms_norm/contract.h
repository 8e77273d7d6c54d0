// Slot `rms_norm`: y = x * w / sqrt(mean(x^2) + eps) per row (Zhang & Sennrich 2019, arXiv 1910.07467), with the residual sum in the same pass.
// The weight is frozen: backward gives dx only. The mean is accumulated in fp32 or better.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace evolora {

// x (N, D), residual (N, D) or null, weight (D) -> y (N, D).
// With a residual: s = x + residual is normalised and written to sum (N, D). sum may alias x or residual; y may alias x when residual and sum do not.
struct RmsNormForward {
  const float* x;
  const float* residual;
  const float* weight;
  float eps;
  std::int64_t n;
  std::int64_t d;
  float* sum;  // null iff residual is null
  float* y;
};

// dy (N, D), x (N, D) the normalised input (the sum, if there was a residual), weight (D).
// dx (N, D) = add (N, D, or null for 0) + d(loss)/dx. dx may alias dy or add.
struct RmsNormBackward {
  const float* dy;
  const float* x;
  const float* weight;
  float eps;
  std::int64_t n;
  std::int64_t d;
  const float* add;
  float* dx;
};

namespace reference {
void rms_norm_forward(const RmsNormForward& args, KernelContext& context);
void rms_norm_backward(const RmsNormBackward& args, KernelContext& context);
}  // namespace reference
namespace cpu {
void rms_norm_forward(const RmsNormForward& args, KernelContext& context);
void rms_norm_backward(const RmsNormBackward& args, KernelContext& context);
}  // namespace cpu

}  // namespace evolora
