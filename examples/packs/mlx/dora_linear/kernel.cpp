// DoRA on MLX arrays, operation by operation as mlx-lm's DoRALinear: the weight is dequantized in every pass, and MLX makes the backward pass.
// What functions get and must give is in evolora_mlx_pack.h. Only the lines between the marks may change.
#include <algorithm>

#include "evolora_mlx_pack.h"

// EVOLVE-BLOCK-START
namespace {

// Whether x W^T is computed from the packed weight, without the dense copy that mlx-lm makes and keeps for the backward pass.
constexpr bool kPackedProduct = false;  // evolve: bool
// In how many pieces of rows the norm is computed; of more than one, each from a dense piece of its own.
constexpr int kNormPieces = 1;  // evolve: choice 1,2,4,8,16

mx::array dense(const evolora_mlx::Weight& w) {
  if (w.bits == 0) return w.values;
  return mx::dequantize(w.values, *w.scales, w.biases, w.group_size, w.bits);
}

mx::array scaled(float factor, const mx::array& values) { return mx::multiply(mx::array(factor, values.dtype()), values); }

mx::array rows(const mx::array& values, int first, int last) { return mx::slice(values, {first, 0}, {last, values.shape(1)}); }

evolora_mlx::Weight rows(evolora_mlx::Weight w, int first, int last) {
  w.values = rows(w.values, first, last);
  if (w.scales) w.scales = rows(*w.scales, first, last);
  if (w.biases) w.biases = rows(*w.biases, first, last);
  w.out = last - first;
  return w;
}

// Of the rows of w + scale * (a b)^T; b: the same columns of it.
mx::array row_norms(const mx::array& w, const evolora_mlx::Linear& linear, const mx::array& b) {
  const mx::array adapted = mx::add(w, mx::matmul(scaled(linear.scale, mx::transpose(b)), mx::transpose(linear.a)));
  return mx::stop_gradient(mx::linalg::norm(adapted, std::vector<int>{1}));
}

mx::array row_norms_in_pieces(const evolora_mlx::Linear& linear) {
  std::vector<mx::array> pieces;
  const int out = linear.weight.out, rank = linear.b.shape(0), step = (out + kNormPieces - 1) / kNormPieces;
  for (int first = 0; first < out; first += step) {
    const int last = std::min(first + step, out);
    pieces.push_back(row_norms(dense(rows(linear.weight, first, last)), linear, mx::slice(linear.b, {0, first}, {rank, last})));
  }
  return mx::concatenate(pieces, 0);
}

mx::array packed_product(const mx::array& x, const evolora_mlx::Weight& w) {
  return mx::quantized_matmul(x, w.values, *w.scales, w.biases, true, w.group_size, w.bits);
}

}  // namespace

mx::array evolora_mlx_dora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {
  const mx::array w = dense(linear.weight);
  const bool packed = kPackedProduct && linear.weight.bits != 0;
  const mx::array y = packed ? packed_product(x, linear.weight) : mx::matmul(x, mx::transpose(w));
  const mx::array z = mx::matmul(mx::matmul(x, linear.a), linear.b);
  mx::array out = mx::add(y, mx::astype(scaled(linear.scale, z), x.dtype()));
  const mx::array norm = kNormPieces > 1 ? row_norms_in_pieces(linear) : row_norms(w, linear, linear.b);
  out = mx::multiply(mx::astype(mx::divide(*linear.m, norm), x.dtype()), out);
  return linear.bias ? mx::add(out, *linear.bias) : out;
}
// EVOLVE-BLOCK-END
