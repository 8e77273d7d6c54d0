// A TimedRunner whose kernels run in a sandboxed evolora_pack_worker. Inputs, clock and outputs belong to this process; the worker answers with
// numbers that it was given, and an answer that does not fit ends it.
#pragma once

#include <memory>
#include <string>

#include "evolve/judge/kernel_runner.h"
#include "evolve/judge/shared_call.h"
#include "evolve/judge/worker_connection.h"

namespace evolora {

enum class PackTrust {
  kCandidate,  // nobody read it: the worker narrows itself before it is loaded
  kOwn,        // the program's own kernels as a pack: may start threads
};

struct WorkerOptions {
  Isolation isolation = Isolation::kSandbox;
  PackTrust trust = PackTrust::kCandidate;
  int threads = 2;           // that calls may ask for at most
  double call_seconds = 10;  // for one call, and for loading
  std::size_t input_bytes = std::size_t{64} << 20;
  std::size_t output_bytes = std::size_t{64} << 20;
  std::uint64_t layout = 0;  // where arrays lie within their pages: see SharedCall::create
};

// Not thread-safe; ends with the thread that started it.
class WorkerRunner : public TimedRunner {
 public:
  // kBadData: the candidate's fault, as it does not load, ends the worker or takes too long. kDependency: no worker program, no sandbox.
  static Result<std::unique_ptr<WorkerRunner>> start(const fs::path& library, const WorkerOptions& options);

  bool serves(LoraDirection direction) const override { return (worker_.functions() & (direction == LoraDirection::kForward ? 1U : 2U)) != 0; }

  // The seconds are those from the request to the answer. Outputs are taken while the worker stands still, so that nothing that was still on
  // its way after the answer counts.
  Result<double> timed_run(LoraDirection direction, const LoraProblem& problem, int threads, LoraOutputs& outputs) override;

 private:
  WorkerRunner(SharedCall call, WorkerConnection worker, const WorkerOptions& options)
      : call_(std::move(call)), worker_(std::move(worker)), options_(options) {}
  Result<double> exchange(std::uint32_t command, int threads);

  SharedCall call_;
  WorkerConnection worker_;
  WorkerOptions options_;
};

}  // namespace evolora
