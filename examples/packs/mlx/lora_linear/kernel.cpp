// LoRA on MLX arrays, operation by operation as mlx-lm's LoRALinear: MLX makes the backward pass.
// What functions get and must give is in evolora_mlx_pack.h. Only the lines between the marks may change.
#include "evolora_mlx_pack.h"

// EVOLVE-BLOCK-START
namespace {

// Whether x W^T goes through a dense copy of W, by BLAS; MLX then keeps that for the backward pass.
constexpr bool kDenseProduct = false;  // evolve: bool

mx::array base_linear(const mx::array& x, const evolora_mlx::Linear& linear) {
  const evolora_mlx::Weight& w = linear.weight;
  if (w.bits == 0) {
    if (!linear.bias) return mx::matmul(x, mx::transpose(w.values));
    return mx::addmm(*linear.bias, x, mx::transpose(w.values));
  }
  const mx::array y = kDenseProduct ? mx::matmul(x, mx::transpose(mx::dequantize(w.values, *w.scales, w.biases, w.group_size, w.bits)))
                                    : mx::quantized_matmul(x, w.values, *w.scales, w.biases, true, w.group_size, w.bits);
  return linear.bias ? mx::add(y, *linear.bias) : y;
}

}  // namespace

mx::array evolora_mlx_lora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {
  const mx::array y = base_linear(x, linear);
  const mx::array z = mx::matmul(mx::matmul(x, linear.a), linear.b);
  return mx::add(y, mx::astype(mx::multiply(mx::array(linear.scale, z.dtype()), z), x.dtype()));
}
// EVOLVE-BLOCK-END
