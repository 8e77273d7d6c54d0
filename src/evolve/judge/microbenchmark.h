// The micro-benchmark gate: a candidate's kernels against a baseline's, call by call, both in sandboxed workers, by this process's clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "evolve/judge/worker_runner.h"

namespace evolora {

struct MicrobenchmarkPlan {
  std::vector<ProblemShape> shapes;
  int threads = 1;
  int pairs = 9;  // per shape and direction
  std::uint64_t seed = 0;
};

struct MicrobenchmarkResult {
  bool passed = false;
  bool too_fast = false;  // faster than the machine's multiply-adds allow
  std::string reason;     // one line; empty if passed
  // One per pair: the mean over shapes and directions of log(seconds of baseline / seconds of candidate).
  std::vector<double> log_speed;
  nlohmann::ordered_json details;  // medians per shape and direction, the machine's peak
};

// The linears of SmolLM2-135M with rank 8 and 4 bits: q|k|v, o, gate|up, down, with so many rows.
std::vector<ProblemShape> smollm2_shapes(std::int64_t rows);

// Pairs in random order, each of both arms' calls on contents that were made for this pair and never come again, so that nothing that is kept from
// call to call helps. After each timed call of the candidate all its outputs are compared. Directions that the candidate serves and the baseline too.
// Errors: kInterrupted; the judge's own failures; the baseline's. Takes pairs x (two calls, and about five calls' time to make and compare).
Result<MicrobenchmarkResult> run_microbenchmark(WorkerRunner& candidate, WorkerRunner& baseline, const MicrobenchmarkPlan& plan,
                                                const std::atomic<bool>* stop);

}  // namespace evolora
