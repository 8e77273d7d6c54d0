// rms_norm, plainly, in double.
#include <cmath>

#include "kernels/rms_norm/contract.h"

namespace evolora::reference {

namespace {

double inverse_rms(const float* x, std::int64_t d, float eps) {
  double squares = 0;
  for (std::int64_t i = 0; i < d; ++i) squares += static_cast<double>(x[i]) * x[i];
  return 1.0 / std::sqrt(squares / static_cast<double>(d) + static_cast<double>(eps));
}

}  // namespace

void rms_norm_forward(const RmsNormForward& args, KernelContext&) {
  for (std::int64_t n = 0; n < args.n; ++n) {
    const float* s = args.x + n * args.d;
    if (args.residual != nullptr) {
      const float* residual = args.residual + n * args.d;
      float* sum = args.sum + n * args.d;
      for (std::int64_t i = 0; i < args.d; ++i) sum[i] = s[i] + residual[i];
      s = sum;
    }
    const double inverse = inverse_rms(s, args.d, args.eps);
    for (std::int64_t i = 0; i < args.d; ++i) args.y[n * args.d + i] = static_cast<float>(s[i] * inverse * args.weight[i]);
  }
}

// With r = 1 / rms: dx_i = r (w_i dy_i - x_i r^2 mean_j(w_j dy_j x_j)).
void rms_norm_backward(const RmsNormBackward& args, KernelContext&) {
  for (std::int64_t n = 0; n < args.n; ++n) {
    const float* x = args.x + n * args.d;
    const float* dy = args.dy + n * args.d;
    const double inverse = inverse_rms(x, args.d, args.eps);
    double dot = 0;
    for (std::int64_t i = 0; i < args.d; ++i) dot += static_cast<double>(args.weight[i]) * dy[i] * x[i];
    const double pull = dot / static_cast<double>(args.d) * inverse * inverse;
    for (std::int64_t i = 0; i < args.d; ++i) {
      const double dx = inverse * (static_cast<double>(args.weight[i]) * dy[i] - x[i] * pull);
      args.dx[n * args.d + i] = static_cast<float>(dx + (args.add != nullptr ? args.add[n * args.d + i] : 0.0f));
    }
  }
}

}  // namespace evolora::reference
