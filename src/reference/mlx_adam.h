// mlx.optimizers' Adam and AdamW for one array, operation by operation.
#pragma once

#include "engine/step_engine.h"
#include "reference/mlx_arrays.h"

namespace evolora {

struct MlxAdamState {
  mx::array m;
  mx::array v;
};

// Scalars of one update as arrays, so that a compiled step takes them as arguments.
struct MlxAdamRates {
  mx::array learning_rate;
  mx::array numerator_scale;    // with bias correction: lr / (1 - beta1^t), else lr
  mx::array denominator_scale;  // with bias correction: 1 / sqrt(1 - beta2^t), else 1
};

// update: number of this one, from 1.
MlxAdamRates adam_rates(const AdamOptions& options, float learning_rate, std::int64_t update);

// -> the new parameter; state becomes the new one.
mx::array adam_update(const AdamOptions& options, const mx::array& parameter, const mx::array& gradient, const MlxAdamRates& rates,
                      MlxAdamState& state);

}  // namespace evolora
