// Forward for few rows (token-by-token decoding): dot products of x with the stored weight, decoded in registers. Bound by reading the weight.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/context.h"
#include "kernels/lora_linear/contract.h"
#include "model/weight_view.h"

namespace evolora::gemm {

// Up to here a decoded weight is used too rarely to be worth storing in a panel.
inline constexpr std::int64_t kFewRows = 4;

// As cpu::lora_linear_forward, for n in [1, kFewRows].
void few_rows_forward(const LoraLinearForward& args, KernelContext& context);
std::size_t few_rows_forward_workspace_bytes(const LoraLinearForward& args);

// As cpu::linear_forward, for n in [1, kFewRows].
void few_rows_linear(const WeightView& weight, const float* x, std::int64_t n, float beta, float* y, KernelContext& context);
std::size_t few_rows_linear_workspace_bytes(const WeightView& weight, std::int64_t n);

}  // namespace evolora::gemm
