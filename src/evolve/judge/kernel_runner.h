// How a gate runs a candidate's kernels without knowing where they run: in a sandboxed worker, or in a test's own process.
#pragma once

#include "base/result.h"
#include "evolve/judge/lora_problem.h"

namespace evolora {

class KernelRunner {
 public:
  virtual ~KernelRunner() = default;
  virtual bool serves(LoraDirection direction) const = 0;
  // Runs one call with the problem's inputs, on so many threads, and copies what it wrote to outputs, which hold at the call what
  // LoraOutputs(problem) does. kBadData with one line: the candidate's fault (ended by a signal, time over, wrote where it must not, broke the
  // protocol; after that no further call works). Other codes: the judge's own failure.
  virtual Status run(LoraDirection direction, LoraProblem& problem, int threads, LoraOutputs& outputs) = 0;
};

// One process whose calls are timed.
class TimedRunner : public KernelRunner {
 public:
  // run() with the wall seconds of the call, by this process's clock. The same errors.
  virtual Result<double> timed_run(LoraDirection direction, const LoraProblem& problem, int threads, LoraOutputs& outputs) = 0;
  Status run(LoraDirection direction, LoraProblem& problem, int threads, LoraOutputs& outputs) final {
    TRY(timed_run(direction, problem, threads, outputs));
    return {};
  }
};

}  // namespace evolora
