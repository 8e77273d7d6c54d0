// Slot head_loss on MLX arrays: last norm, head, cross-entropy.
//
// standard:  mlx-lm's default_loss: logits of every position, cross-entropy, times the mask.
// optimized: supervised rows only, in chunks. Because the head is frozen, a chunk's forward pass makes the gradient of its input at once and no
// logits
//            wait for the backward pass. Each chunk is made to depend on the one before it: without that MLX may have the logits of all alive
//            together.
#pragma once

#include "reference/mlx_model.h"

namespace evolora {

// Sum of the cross-entropy where mask is 1. hidden (B, T, D) before the last norm, targets (B, T) int32, mask (B, T) bool -> fp32 scalar.
mx::array standard_loss_sum(const mx::array& hidden, const MlxModel& model, const mx::array& targets, const mx::array& mask);

// The same of chosen rows of hidden, taken as (B*T, D). rows, targets (M) int32, weights (M) fp32: 1, or 0 for a row that only fills up;
// rows_per_chunk divides the work, the last chunk may be smaller.
mx::array chunked_loss_sum(const mx::array& hidden, const MlxModel& model, const mx::array& rows, const mx::array& targets, const mx::array& weights,
                           std::int64_t rows_per_chunk);

// Rows whose logits take about 128 MiB in 2-byte elements: large enough for the products, small beside the model's other activations.
std::int64_t default_rows_per_chunk(std::int64_t vocab_size);

}  // namespace evolora
