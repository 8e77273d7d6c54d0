// The GEMM under `lora_linear` and `head_loss`: fp32 activations times a stored (quantized or dense) weight, decoded block by block in the packer.
// Blocking and tiles: Goto & van de Geijn 2008 (doi 10.1145/1356052.1356053), with the decoder as the packing step.
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "model/weight_view.h"

namespace evolora::cpu {

// arithmetic: fp32 or bf16 (kernels/arithmetic.h).
// y (N, O) = x (N, K) W^T, W (O, K). beta 0: y overwritten, 1: added to.
void linear_forward(const WeightView& weight, const float* x, std::int64_t n, float beta, float* y, KernelContext& context,
                    Arithmetic arithmetic = Arithmetic::kFp32);
std::size_t linear_forward_workspace_bytes(const WeightView& weight, std::int64_t n, int threads, Arithmetic arithmetic = Arithmetic::kFp32);

// dx (N, K) = dy (N, O) W. beta as above.
void linear_backward(const WeightView& weight, const float* dy, std::int64_t n, float beta, float* dx, KernelContext& context,
                     Arithmetic arithmetic = Arithmetic::kFp32);
std::size_t linear_backward_workspace_bytes(const WeightView& weight, std::int64_t n, int threads, Arithmetic arithmetic = Arithmetic::kFp32);

}  // namespace evolora::cpu
