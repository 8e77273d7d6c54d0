// Two calls behind one.
#include "train/fused_step_engine.h"

#include <cmath>

namespace evolora {

FusedStepEngine::FusedStepEngine(TrainingEngine& engine, AdapterSet& adapters, AdamOptimizer& optimizer, Threads& threads)
    : engine_(engine), adapters_(adapters), optimizer_(optimizer), threads_(threads) {
  engine_.zero_gradients();
}

Result<double> FusedStepEngine::train_on(const Batch& batch, double loss_scale, std::uint64_t dropout_seed, const std::optional<StepUpdate>& update) {
  const double sum = engine_.forward_backward(batch, loss_scale, dropout_seed);
  if (!std::isfinite(sum) || !update) return sum;
  optimizer_.update(adapters_.parameters(), engine_.gradients(), update->gradient_scale, update->learning_rate, threads_);
  engine_.zero_gradients();
  return sum;
}

Result<std::vector<float>> FusedStepEngine::gradients() {
  return std::vector<float>(engine_.gradients(), engine_.gradients() + engine_.gradient_count());
}

nlohmann::ordered_json FusedStepEngine::record() const { return {{"name", "fused"}, {"device", "cpu"}}; }

}  // namespace evolora
