// A kernel pack on MLX in a sandboxed evolora_mlx_pack_worker. Inputs, clock, memory meter and outputs belong to this process.
#pragma once

#include <memory>
#include <string>

#include "evolve/judge/mlx/mlx_problem.h"
#include "evolve/judge/worker_connection.h"

namespace evolora {

struct MlxRunnerOptions {
  Isolation isolation = Isolation::kSandbox;
  double call_seconds = 30;  // for one answer; and for loading MLX and the pack
  std::size_t input_bytes = std::size_t{64} << 20;
  std::size_t output_bytes = std::size_t{64} << 20;
};

struct MlxRun {
  double seconds = 0;          // from the request to the answer
  std::size_t peak_bytes = 0;  // counted only: the most that was resident during the call, beyond what was before the pack prepared anything
};

enum class MlxMeasure {
  kTime,    // memory is allocated as the C library does
  kMemory,  // arrays are mappings of their own; slower
};

// Mounts MLX's library and what it needs, and says where it is. kDependency: no MLX here.
Status add_mlx(SandboxRequest& request);

// Not thread-safe; ends with the thread that started it. A process that has run a call has seen its inputs: for measurements, start one for each
// call.
class MlxRunner {
 public:
  // kBadData: the candidate's fault, as it does not load, ends the worker or takes too long. kDependency: no worker program (a build without MLX), no
  // sandbox.
  static Result<std::unique_ptr<MlxRunner>> start(const fs::path& library, const MlxRunnerOptions& options);

  bool serves(bool dora) const { return (worker_.functions() & (dora ? 2U : 1U)) != 0; }

  // Forward and backward of the whole chain; outputs, all NaN at the call, get what it wrote. kBadData with one line: the candidate's fault, MLX's
  // own refusal among them; afterwards no further call works. kTooLarge: the problem does not fit. Other codes: the judge's own failure.
  Result<MlxRun> run(const MlxProblem& problem, MlxMeasure measure, MlxOutputs& outputs);

 private:
  MlxRunner(SharedMemory memory, WorkerConnection worker) : memory_(std::move(memory)), worker_(std::move(worker)) {}
  Status place(const MlxProblem& problem, MlxOutputs& outputs);
  Result<double> exchange(std::uint32_t command, std::uint32_t argument);

  struct Output {
    std::vector<float>* to;
    std::uint64_t offset;
  };
  SharedMemory memory_;
  WorkerConnection worker_;
  std::vector<Output> outputs_;
};

}  // namespace evolora
