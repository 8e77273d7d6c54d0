// A batch as mlx-lm has it: a padded id matrix with targets and mask, or with its supervised rows listed.
#pragma once

#include <vector>

#include "data/batch.h"
#include "engine/mlx_recipe.h"
#include "reference/mlx_arrays.h"

namespace evolora {

struct MlxBatch {
  mx::array tokens;  // (B, T) int32, padded with 0
  // standard head_loss: targets (B, T) int32, mask (B, T) bool. optimized: rows, targets (M) int32, weights (M) fp32.
  std::vector<mx::array> loss;
};

// Rows are the segments of the batch, padded on the right to a multiple of 32 tokens but not beyond max_tokens (0: no bound), which is mlx-lm's
// width. Samples without anything to learn are in no segment, so such a row of mlx-lm's batch is missing here; it would add nothing but work.
// pad_supervised_rows: M becomes a multiple of this, so that a compiled step meets few shapes.
MlxBatch make_mlx_batch(const Batch& batch, MlxHeadLoss head_loss, std::int64_t max_tokens, std::int64_t pad_supervised_rows);

}  // namespace evolora
