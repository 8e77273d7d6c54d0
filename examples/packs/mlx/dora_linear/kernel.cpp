// DoRA on MLX arrays, operation by operation as mlx-lm's DoRALinear: the weight is dequantized in every pass, and MLX makes the backward pass.
// What functions get and must give is in evolora_mlx_pack.h. Only the lines between the marks may change.
#include "evolora_mlx_pack.h"

// EVOLVE-BLOCK-START
namespace {

mx::array dense(const evolora_mlx::Weight& w) {
  if (w.bits == 0) return w.values;
  return mx::dequantize(w.values, *w.scales, w.biases, w.group_size, w.bits);
}

mx::array scaled(float factor, const mx::array& values) { return mx::multiply(mx::array(factor, values.dtype()), values); }

}  // namespace

mx::array evolora_mlx_dora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {
  const mx::array w = dense(linear.weight);
  const mx::array y = mx::matmul(x, mx::transpose(w));
  const mx::array z = mx::matmul(mx::matmul(x, linear.a), linear.b);
  mx::array out = mx::add(y, mx::astype(scaled(linear.scale, z), x.dtype()));
  const mx::array adapted = mx::add(w, mx::matmul(scaled(linear.scale, mx::transpose(linear.b)), mx::transpose(linear.a)));
  const mx::array norm = mx::stop_gradient(mx::linalg::norm(adapted, std::vector<int>{1}));
  out = mx::multiply(mx::astype(mx::divide(*linear.m, norm), x.dtype()), out);
  return linear.bias ? mx::add(out, *linear.bias) : out;
}
// EVOLVE-BLOCK-END
