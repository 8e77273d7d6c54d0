// Slot `head_loss`: last norm, head and cross-entropy in one pass over the supervised rows only. The head is frozen, so d(hidden) is produced in the
// forward pass (as in Liger-Kernel's fused linear cross entropy, https://github.com/linkedin/Liger-Kernel) and logits exist only chunk_rows at a
// time.
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "model/weight_view.h"

namespace evolora {

// For each supervised row m: x = rms_norm(hidden[rows[m]]), logits = x head^T, ce = logsumexp(logits) - logits[targets[m]].
// loss_sum = sum of ce (fp64 accumulation in row order). If d_hidden is not null: d_hidden (N, D) is overwritten with
// loss_scale * d(sum ce)/d(hidden), zero in unsupervised rows. row_losses (M) may be null.
struct HeadLoss {
  const float* hidden;  // (N, D)
  std::int64_t n;
  std::int64_t d;
  const float* norm_weight;  // (D)
  float eps;
  WeightView head;              // (V, D)
  const std::int32_t* rows;     // (M) ascending
  const std::int32_t* targets;  // (M) in [0, V)
  std::int64_t m;
  float loss_scale;
  std::int64_t chunk_rows;  // rows of logits alive at a time
  float* d_hidden;          // (N, D) or null; must not alias hidden
  float* row_losses;        // (M) or null
  double* loss_sum;         // (1)
  // Of logits = x head^T, and of d(logits) head (kernels/arithmetic.h): fp32 or bf16. Softmax, loss and norm are fp32 always.
  Arithmetic forward = Arithmetic::kFp32;
  Arithmetic backward = Arithmetic::kFp32;
};

// Logits of chosen rows (generation): hidden (N, D), rows (M) -> logits (M, V).
struct HeadLogits {
  const float* hidden;
  std::int64_t d;
  const float* norm_weight;
  float eps;
  WeightView head;
  const std::int32_t* rows;
  std::int64_t m;
  float* logits;
};

namespace reference {
void head_loss(const HeadLoss& args, KernelContext& context);
void head_logits(const HeadLogits& args, KernelContext& context);
std::size_t head_loss_workspace_bytes(const HeadLoss& args, int threads);
std::size_t head_logits_workspace_bytes(const HeadLogits& args, int threads);
}  // namespace reference
namespace cpu {
void head_loss(const HeadLoss& args, KernelContext& context);
void head_logits(const HeadLogits& args, KernelContext& context);
std::size_t head_loss_workspace_bytes(const HeadLoss& args, int threads);
std::size_t head_logits_workspace_bytes(const HeadLogits& args, int threads);
}  // namespace cpu

}  // namespace evolora
