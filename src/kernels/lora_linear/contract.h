// Slot `lora_linear`: a group of linears that share an input (q|k|v, gate|up, or one alone), frozen base weights quantized or dense, optional bias,
// optional LoRA:
//   y = x W^T + bias + scale * (drop(x) A) B        x (N, K), W (O, K), A (K, r), B (r, O)
// Base weights are decoded block by block into the workspace, never as a whole. All sums in fp32.
// `arithmetic` is that of the products with base weights, x W^T and dy W; a weight it is not made for (arithmetic_for) is computed in fp32.
// Adapter terms, bias, da and db are fp32 always. The rounding (kernels/arithmetic.h) is part of the contract: implementations differ by the order of
// fp32 sums only. bf16 rounds the weight as decoded to fp32; numbers below 2^-126 may count as zero. int8 multiplies the exact weights scale * q +
// bias with the quantized x; a group whose max|x| is below 2^-100 counts as zeros; Inf or NaN in a group gives Inf or NaN in the row.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/arithmetic.h"
#include "kernels/context.h"
#include "model/weight_view.h"

namespace evolora {

// One member of the group. rank == 0: no adapter, and a, b, xa, da, db are null.
struct LoraProjection {
  WeightView weight;            // (O, K)
  const float* bias = nullptr;  // (O) or null
  const float* a = nullptr;     // (K, r)
  const float* b = nullptr;     // (r, O)
  std::int64_t rank = 0;
  float scale = 0;
  float dropout = 0;  // p; element (n, k) of x is kept iff dropout_keeps(dropout_key, n * K + k, p), then scaled by 1/(1-p)
  std::uint64_t dropout_key = 0;
  float* xa = nullptr;        // (N, r) = drop(x) A, without scale. Written by forward, read by backward
  float* y = nullptr;         // (N, O) forward output
  const float* dy = nullptr;  // (N, O) backward input
  float* da = nullptr;        // (K, r) gradient, accumulated (+=)
  float* db = nullptr;        // (r, O) gradient, accumulated (+=)
};

// Writes y and xa of every projection. No output may alias an input or another output.
struct LoraLinearForward {
  const float* x;  // (N, K)
  std::int64_t n;
  std::span<const LoraProjection> projections;
  Arithmetic arithmetic = Arithmetic::kFp32;
};

// dx (N, K) = sum over projections of dy W + drop'(scale * (dy B^T) A^T); overwritten. dx null: not needed (nothing below learns), skip its work.
// x (N, K) is the forward input; it may be null if no projection has an adapter. dx must not alias x or any dy.
struct LoraLinearBackward {
  const float* x;
  std::int64_t n;
  std::span<const LoraProjection> projections;
  float* dx;
  Arithmetic arithmetic = Arithmetic::kFp32;  // fp32 or bf16
};

namespace reference {
void lora_linear_forward(const LoraLinearForward& args, KernelContext& context);
void lora_linear_backward(const LoraLinearBackward& args, KernelContext& context);
std::size_t lora_linear_forward_workspace_bytes(const LoraLinearForward& args, int threads);
std::size_t lora_linear_backward_workspace_bytes(const LoraLinearBackward& args, int threads);
}  // namespace reference
namespace cpu {
void lora_linear_forward(const LoraLinearForward& args, KernelContext& context);
void lora_linear_backward(const LoraLinearBackward& args, KernelContext& context);
// Exact scratch need; looks only at shapes, weight formats and ranks, never at data pointers' targets.
// Never shrinks as n grows, so a workspace for the longest batch does for shorter ones.
std::size_t lora_linear_forward_workspace_bytes(const LoraLinearForward& args, int threads);
std::size_t lora_linear_backward_workspace_bytes(const LoraLinearBackward& args, int threads);
}  // namespace cpu

}  // namespace evolora
