// Slot `optimizer_update`: Adam and AdamW on flat fp32 buffers, in place, with MLX's arithmetic (mlx/optimizers/optimizers.py):
// adam: m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2; without bias correction w -= lr * m / (sqrt(v) + eps);
// with it w -= (lr / (1 - b1^t)) * m / (sqrt(v) * rsqrt(1 - b2^t) + eps). adamw: first w *= 1 - lr * weight_decay.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace evolora {

// gradient is multiplied by gradient_scale before use. step t >= 1 counts this update. weight_decay 0: adam.
struct AdamUpdate {
  float* parameters;
  const float* gradients;
  float* m;
  float* v;
  std::int64_t count;
  float gradient_scale;
  float learning_rate;
  double beta1;  // MLX rounds b1 and 1 - b1 to fp32 separately; from an fp32 beta the second is off by up to 2^-25
  double beta2;
  float eps;
  float weight_decay;
  bool bias_correction;
  std::int64_t step;
};

namespace reference {
void adam_update(const AdamUpdate& args, KernelContext& context);
}
namespace cpu {
void adam_update(const AdamUpdate& args, KernelContext& context);
}

}  // namespace evolora
