// rope, plainly: the angle is an fp32 product, cos and sin are those of libm in double.
#include <cmath>

#include "kernels/rope/contract.h"

namespace evolora::reference {

namespace {

void rotate_row(const Rope& args, float* x, std::int64_t heads, std::int64_t n) {
  const std::int64_t half = args.head_dim / 2;
  for (std::int64_t h = 0; h < heads; ++h) {
    float* head = x + (n * heads + h) * args.head_dim;
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(args.positions[n]) * args.inverse_frequencies[i];
      const double c = std::cos(static_cast<double>(angle));
      const double s = args.direction * std::sin(static_cast<double>(angle));
      float& first = args.traditional ? head[2 * i] : head[i];
      float& second = args.traditional ? head[2 * i + 1] : head[i + half];
      const double a = first;
      const double b = second;
      first = static_cast<float>(a * c - b * s);
      second = static_cast<float>(a * s + b * c);
    }
  }
}

}  // namespace

void rope(const Rope& args, KernelContext&) {
  for (std::int64_t n = 0; n < args.n; ++n) {
    rotate_row(args, args.q, args.q_heads, n);
    rotate_row(args, args.k, args.k_heads, n);
  }
}

}  // namespace evolora::reference
