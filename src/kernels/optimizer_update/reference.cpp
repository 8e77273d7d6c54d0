// adam and adamw, plainly, in fp32 with exactly MLX's operations in MLX's order: each one rounded, none fused.
#include "kernels/no_contraction.h"

#include <cmath>

#include "kernels/optimizer_update/adam_factors.h"

namespace evolora::reference {

void adam_update(const AdamUpdate& args, KernelContext&) {
  const AdamFactors f = adam_factors(args);
  for (std::int64_t i = 0; i < args.count; ++i) {
    const float g = args.gradient_scale * args.gradients[i];
    const float m = f.b1 * args.m[i] + f.one_minus_b1 * g;
    const float v = f.b2 * args.v[i] + f.one_minus_b2 * (g * g);
    args.m[i] = m;
    args.v[i] = v;
    const float numerator = f.numerator * m;
    const float denominator = std::sqrt(v) * f.denominator + args.eps;
    args.parameters[i] = f.decay * args.parameters[i] - numerator / denominator;
  }
}

}  // namespace evolora::reference
