// The micro-benchmark gate for packs on MLX: time and memory of a candidate's forward and backward pass against a baseline's, pair by pair, every
// measurement in a fresh sandboxed process.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "evolve/judge/mlx/mlx_runner.h"

namespace evolora {

struct MlxMicrobenchmarkPlan {
  std::vector<MlxProblemShape> shapes;
  int pairs = 5;  // per shape
  std::uint64_t seed = 0;
};

struct MlxMicrobenchmarkResult {
  bool passed = false;
  bool too_fast = false;  // faster than the machine's multiply-adds allow
  std::string reason;     // one line; empty if passed
  // One per pair: the mean over shapes of log(baseline / candidate), of seconds and of peak bytes.
  std::vector<double> log_speed, log_memory;
  nlohmann::ordered_json details;  // processes that ran, medians per shape
};

// Pairs in random order. An arm's turn is two fresh processes, one for the time and one for the memory, both with this pair's content, which never
// comes again; the candidate's outputs are compared with the baseline's. Errors: kInterrupted; the judge's own failures; the baseline's.
Result<MlxMicrobenchmarkResult> run_mlx_microbenchmark(const fs::path& candidate, const fs::path& baseline, const MlxRunnerOptions& options,
                                                       const MlxMicrobenchmarkPlan& plan, const std::atomic<bool>* stop);

}  // namespace evolora
