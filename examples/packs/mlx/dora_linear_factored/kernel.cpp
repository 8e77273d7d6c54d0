// DoRA on MLX arrays, operation by operation as mlx-lm's DoRALinear: the weight is dequantized in every pass, and MLX makes the backward pass.
// What functions get and must give is in evolora_mlx_pack.h. Only the lines between the marks may change.
#include <algorithm>

#include "evolora_mlx_pack.h"

// EVOLVE-BLOCK-START
// As the program's own optimized slot: no dense weight exists during a step. The row norm of W + s (a b)^T is the root of
// |W|^2 + 2 s rowsum(b^T * (W a)) + s^2 rowsum((b^T a^T a) * b^T) (arXiv 2603.22276), of which |W|^2 is computed once. An own backward pass saves x,
// x a and the output.
namespace {

// Whether products with W go through a dense copy, made for each of them and not kept: BLAS instead of MLX's products with packed weights.
constexpr bool kDenseProducts = false;  // evolve: bool
// Whether x a is kept for the backward pass or computed again.
constexpr bool kKeepXa = true;  // evolve: bool

using Arrays = std::vector<mx::array>;

mx::array scaled(float factor, const mx::array& values) { return mx::multiply(mx::array(factor, values.dtype()), values); }
mx::array rows_of(const mx::array& x) { return mx::reshape(x, {-1, x.shape(-1)}); }

mx::array dense(const evolora_mlx::Weight& w) {
  if (w.bits == 0) return w.values;
  return mx::dequantize(w.values, *w.scales, w.biases, w.group_size, w.bits);
}

mx::array times_transposed(const mx::array& x, const evolora_mlx::Weight& w) {
  if (kDenseProducts || w.bits == 0) return mx::matmul(x, mx::transpose(dense(w)));
  return mx::quantized_matmul(x, w.values, *w.scales, w.biases, true, w.group_size, w.bits);
}

mx::array times(const mx::array& dy, const evolora_mlx::Weight& w) {
  if (kDenseProducts || w.bits == 0) return mx::matmul(dy, dense(w));
  return mx::quantized_matmul(dy, w.values, *w.scales, w.biases, false, w.group_size, w.bits);
}

mx::array row_norms(const evolora_mlx::Linear& linear, mx::Dtype dtype) {
  const mx::array a = mx::stop_gradient(linear.a);
  const mx::array b = mx::stop_gradient(linear.b);
  const mx::array wa = mx::astype(times_transposed(mx::astype(mx::transpose(a), dtype), linear.weight), mx::float32);  // (rank, out)
  const mx::array aab = mx::matmul(mx::matmul(mx::transpose(a), a), b);                                                // (rank, out)
  const mx::array cross = scaled(2.0F * linear.scale, mx::sum(mx::multiply(b, wa), 0));
  const mx::array square = scaled(linear.scale * linear.scale, mx::sum(mx::multiply(b, aab), 0));
  const mx::array norms = mx::add(linear.prepared[0], mx::add(cross, square));
  return mx::sqrt(mx::maximum(norms, mx::zeros_like(norms)));
}

}  // namespace

std::vector<mx::array> evolora_mlx_dora_linear_prepare(const evolora_mlx::Weight& w) {
  return {mx::sum(mx::square(mx::astype(dense(w), mx::float32)), 1)};
}

mx::array evolora_mlx_dora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {
  const evolora_mlx::Weight weight = linear.weight;
  const float scale = linear.scale;
  const mx::Dtype dtype = x.dtype();
  // in: x, a, b, m, norm -> y without bias, x a.
  const auto forward = [weight, scale, dtype](const Arrays& in) -> Arrays {
    const mx::array xa = mx::matmul(in[0], mx::astype(in[1], dtype));
    const mx::array v = mx::addmm(times_transposed(in[0], weight), xa, mx::astype(in[2], dtype), scale, 1.0F);
    return {mx::multiply(v, mx::astype(mx::divide(in[3], in[4]), dtype)), xa};
  };
  const auto backward = [weight, scale, dtype](const Arrays& in, const Arrays& cotangents, const Arrays& outputs) -> Arrays {
    const mx::array& m = in[3];
    const mx::array b = mx::astype(in[2], dtype);
    const mx::array xa = rows_of(kKeepXa ? outputs[1] : mx::matmul(in[0], mx::astype(in[1], dtype)));
    const mx::array dy = rows_of(cotangents[0]);
    // y = m / norm * v, so dm = sum(dy * v) / norm = sum(dy * y) / m. A row whose m is exactly 0 gets no gradient.
    const mx::array sum = mx::sum(mx::astype(mx::multiply(dy, rows_of(outputs[0])), mx::float32), 0);
    const mx::array dm = mx::where(mx::equal(m, mx::zeros_like(m)), mx::zeros_like(m), mx::divide(sum, m));
    const mx::array dv = mx::multiply(dy, mx::astype(mx::divide(m, in[4]), dtype));
    const mx::array dxa = scaled(scale, mx::matmul(dv, mx::transpose(b)));
    const mx::array db = scaled(scale, mx::astype(mx::matmul(mx::transpose(xa), dv), mx::float32));
    const mx::array da = mx::astype(mx::matmul(mx::transpose(rows_of(in[0])), dxa), mx::float32);
    const mx::array dx = mx::addmm(times(dv, weight), dxa, mx::transpose(mx::astype(in[1], dtype)));
    return {mx::reshape(dx, in[0].shape()), da, db, dm, mx::zeros_like(in[4])};
  };
  const mx::array norm = mx::stop_gradient(row_norms(linear, dtype));
  const mx::array y = mx::custom_vjp(forward, backward)({x, linear.a, linear.b, *linear.m, norm})[0];
  return linear.bias ? mx::add(y, *linear.bias) : y;
}
// EVOLVE-BLOCK-END
