// The micro-benchmark gate: a candidate's kernels against a baseline's, each pair in two fresh processes, by this process's clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "evolve/judge/kernel_runner.h"

namespace evolora {

struct MicrobenchmarkPlan {
  std::vector<ProblemShape> shapes;
  int threads = 1;
  int pairs = 9;  // of processes; each runs every shape and direction
  std::uint64_t seed = 0;
};

// Starts a fresh process of one arm. layout: not 0, the same for both of a pair; see SharedCall::create.
using RunnerStarter = std::function<Result<std::unique_ptr<TimedRunner>>(std::uint64_t layout)>;
struct MicrobenchmarkArms {
  RunnerStarter candidate;  // kBadData: the candidate's fault
  RunnerStarter baseline;   // errors are returned as they are
};

struct MicrobenchmarkResult {
  bool passed = false;
  bool too_fast = false;  // faster than the machine's multiply-adds allow
  std::string reason;     // one line; empty if passed
  // One per pair: the mean over shapes and directions of log(seconds of baseline / seconds of candidate).
  std::vector<double> log_speed;
  nlohmann::ordered_json details;  // processes that were started, the machine's peak, medians per shape and direction
};

// The linears of SmolLM2-135M with rank 8 and 4 bits: q|k|v, o, gate|up, down, with so many rows.
std::vector<ProblemShape> smollm2_shapes(std::int64_t rows);

// Where the system puts a process's pages and addresses makes it faster or slower than the next one of the same program, for all its calls. So a pair
// is two processes, started in random order and ended with it, and what they ran is one observation: two calls of one process are not independent.
// In it, for each shape and direction, both arms in random order: a call that nobody times, then one on contents that were made for this pair and
// never come again, so that nothing that is kept from call to call helps. After each timed call of the candidate all its outputs are compared.
// Directions that the candidate serves and the baseline too. Errors: kInterrupted; the judge's own failures; the baseline's.
//
// Takes pairs x (two starts; per shape and direction four calls, and about five calls' time to make and compare). A start takes 10 to 40 ms (measured
// on two busy cores), so more than one timed call per process and case would save little. The first call is worth its time: it takes 0.7 to 4 ms
// longer than the second, for pages that the process touches first, which is a fifth to a third of a fast kernel's time and would hide that much of a
// gain.
Result<MicrobenchmarkResult> run_microbenchmark(const MicrobenchmarkArms& arms, const MicrobenchmarkPlan& plan, const std::atomic<bool>* stop);

}  // namespace evolora
