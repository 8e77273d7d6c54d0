// What a training loop asks of an engine, whichever computes: one step over a batch, the loss of a batch, and the adapter as it stands. The fused
// engine (train/fused_step_engine.h) and the MLX engine (reference/mlx_engine.h) implement it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "data/batch.h"

namespace evolora {

// Adam (Kingma and Ba 2015, arXiv 1412.6980) and AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with MLX's defaults.
struct AdamOptions {
  double beta1 = 0.9;
  double beta2 = 0.999;
  float eps = 1e-8F;
  float weight_decay = 0;  // 0: plain adam
  bool bias_correction = false;
};

// An optimizer update with gradient_scale * (gradients gathered since the last one).
struct StepUpdate {
  float gradient_scale = 1.0F;
  float learning_rate = 0.0F;
};

// Not thread-safe. Errors are those of the machine (out of memory); a loss that is not finite is returned as it is, and then no update was done.
class StepEngine {
 public:
  virtual ~StepEngine() = default;

  // Adds loss_scale * d(sum of cross-entropy)/d(parameters) of the batch to the gathered gradients, then does the update, if there is one, and
  // forgets them. -> sum of cross-entropy over the supervised tokens. dropout_seed selects the adapter dropout's masks. The batch is not empty.
  virtual Result<double> train_on(const Batch& batch, double loss_scale, std::uint64_t dropout_seed, const std::optional<StepUpdate>& update) = 0;
  // Sum of cross-entropy without dropout.
  virtual Result<double> loss_sum(const Batch& batch) = 0;
  // Updates done so far.
  virtual std::int64_t updates_done() const = 0;
  // Brings AdapterSet::parameters() up to date.
  virtual Status store_parameters() = 0;
  // The gathered gradients, laid out as AdapterSet::parameters(). For oracles.
  virtual Result<std::vector<float>> gradients() = 0;
  // For run.json: which engine and device, what filled each slot in how many layers and why not, memory.
  virtual nlohmann::ordered_json record() const = 0;
  // What ran in the slots, counted (reference/mlx_calls.h); null where the engine has CallCounts (engine/program.h) for it.
  virtual nlohmann::ordered_json calls() const { return nullptr; }
};

}  // namespace evolora
