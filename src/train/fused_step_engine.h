// The fused engine and its optimizer as a StepEngine.
#pragma once

#include <vector>

#include "base/threads.h"
#include "engine/step_engine.h"
#include "engine/training_engine.h"
#include "model/adapter.h"
#include "train/optimizer.h"

namespace evolora {

// Borrows all of its parts, which outlive it. Starts with gradients of zero.
class FusedStepEngine : public StepEngine {
 public:
  FusedStepEngine(TrainingEngine& engine, AdapterSet& adapters, AdamOptimizer& optimizer, Threads& threads);

  Result<double> train_on(const Batch& batch, double loss_scale, std::uint64_t dropout_seed, const std::optional<StepUpdate>& update) override;
  Result<double> loss_sum(const Batch& batch) override { return engine_.loss_sum(batch); }
  std::int64_t updates_done() const override { return optimizer_.updates_done(); }
  Status store_parameters() override { return {}; }  // they are the adapter set's own
  Result<std::vector<float>> gradients() override;
  nlohmann::ordered_json record() const override;

 private:
  TrainingEngine& engine_;
  AdapterSet& adapters_;
  AdamOptimizer& optimizer_;
  Threads& threads_;
};

}  // namespace evolora
