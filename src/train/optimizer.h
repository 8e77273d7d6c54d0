// Adam and AdamW (engine/step_engine.h: AdamOptions) over the flat adapter buffer, with MLX's defaults: no bias correction unless asked for, weight
// decay 0.01 for adamw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "base/threads.h"
#include "engine/step_engine.h"
#include "kernels/kernel_table.h"

namespace evolora {

// name: "adam" or "adamw"; config: mlx-lm's optimizer_config block, {name: {betas, eps, bias_correction, weight_decay}, ...}.
// Errors: kUnsupported naming an optimizer of mlx-lm that we do not have; kUsage for an unknown name or key (with the nearest) or a bad value.
Result<AdamOptions> parse_optimizer(const std::string& name, const nlohmann::ordered_json& config);

// State of one run: moments and update count. Not thread-safe.
class AdamOptimizer {
 public:
  AdamOptimizer(const AdamOptions& options, std::size_t parameter_count, const KernelTable& kernels);

  // parameters, gradients (parameter_count): one update with gradient_scale * gradients. Gradients are not changed.
  void update(float* parameters, const float* gradients, float gradient_scale, float learning_rate, Threads& threads);

  std::int64_t updates_done() const { return updates_done_; }
  std::span<const float> first_moments() const { return m_; }
  std::span<const float> second_moments() const { return v_; }
  // The state of an earlier run: fill the moments (parameter_count each) and say how many updates made them.
  void restore(std::int64_t updates_done, const std::function<void(std::span<float> first, std::span<float> second)>& fill);
  // Of both moments together.
  std::size_t state_bytes() const { return (m_.size() + v_.size()) * sizeof(float); }

 private:
  AdamOptions options_;
  KernelTable kernels_;
  std::vector<float> m_;
  std::vector<float> v_;
  std::int64_t updates_done_ = 0;
};

}  // namespace evolora
