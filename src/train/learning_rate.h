// The learning rate of every optimizer update: a constant, or mlx-lm's `lr_schedule` block
// {name: cosine_decay, arguments: [1e-3, 1000, 1e-5], warmup: 100, warmup_init: 1e-7}, with MLX's fp32 arithmetic (mlx/optimizers/schedulers.py).
#pragma once

#include <cstdint>
#include <functional>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

// Immutable, thread-safe.
class LearningRate {
 public:
  static LearningRate constant(double value);
  // schedule: the lr_schedule block. Errors (kUsage): unknown name or key (with the nearest), wrong number, type or range of arguments.
  static Result<LearningRate> from_schedule(const nlohmann::ordered_json& schedule);

  // For the update after `updates_done` finished ones (the first update asks for 0).
  float at(std::int64_t updates_done) const { return function_(updates_done); }

 private:
  explicit LearningRate(std::function<float(std::int64_t)> function) : function_(std::move(function)) {}
  std::function<float(std::int64_t)> function_;
};

}  // namespace evolora
