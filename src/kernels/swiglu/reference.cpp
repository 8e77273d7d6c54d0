// swiglu, plainly: one element at a time in double.
#include <cmath>

#include "kernels/swiglu/contract.h"

namespace evolora::reference {

namespace {
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
}  // namespace

void swiglu_forward(const SwigluForward& args, KernelContext&) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    const double g = args.gate[i];
    args.act[i] = static_cast<float>(g * sigmoid(g) * args.up[i]);
  }
}

// d silu(g) / dg = s + g s (1 - s), with s = sigmoid(g) and 1 - s = sigmoid(-g).
void swiglu_backward(const SwigluBackward& args, KernelContext&) {
  for (std::int64_t i = 0; i < args.count; ++i) {
    const double g = args.gate[i];
    const double u = args.up[i];
    const double d = args.d_act[i];
    const double s = sigmoid(g);
    args.d_gate[i] = static_cast<float>(d * u * s * (1.0 + g * sigmoid(-g)));
    args.d_up[i] = static_cast<float>(d * g * s);
  }
}

}  // namespace evolora::reference
