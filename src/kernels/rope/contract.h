// Slot `rope`: rotary position embedding (Su et al. 2021, arXiv 2104.09864) on q and k, in place. Backward is the rotation by the negative angle.
#pragma once

#include <cstdint>

#include "kernels/context.h"

namespace evolora {

// x (N, heads, C) rotated in place by angle positions[n] * inverse_frequencies[i] (i < C/2), pairs (i, i + C/2), or (2i, 2i+1) if traditional.
// Called once for q and once for k in one struct: q (N, q_heads, C), k (N, k_heads, C). direction +1 forward, -1 backward (gradients).
// Angles are computed as fp32 products like MLX's rope does; cos and sin to fp32 rounding.
struct Rope {
  float* q;
  float* k;
  std::int64_t n;
  std::int64_t q_heads;
  std::int64_t k_heads;
  std::int64_t head_dim;
  const std::int32_t* positions;     // (N)
  const float* inverse_frequencies;  // (C/2)
  bool traditional;
  int direction;
};

namespace reference {
void rope(const Rope& args, KernelContext& context);
}
namespace cpu {
void rope(const Rope& args, KernelContext& context);
std::size_t rope_workspace_bytes(const Rope& args, int threads);
}  // namespace cpu

}  // namespace evolora
