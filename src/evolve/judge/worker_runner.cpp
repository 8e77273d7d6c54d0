// What a call of a kernel is, and what its answer means.
#include "evolve/judge/worker_runner.h"

#include "base/check.h"
#include "evolve/sandbox/worker_protocol.h"

namespace evolora {

Result<std::unique_ptr<WorkerRunner>> WorkerRunner::start(const fs::path& library, const WorkerOptions& options) {
  const fs::path worker = TRY(judging_file("evolora_pack_worker"));
  SharedCall call = TRY(SharedCall::create(options.input_bytes, options.output_bytes, options.layout));
  const SharedMemory& memory = call.memory();

  SandboxRequest request;
  request.argv = {worker.string(),
                  library.string(),
                  std::to_string(options.threads),
                  std::to_string(memory.input_bytes()),
                  std::to_string(memory.output_bytes()),
                  options.trust == PackTrust::kOwn ? "trusted" : "strict"};
  request.mounts = {{worker}, {library}};
  request.system_calls = SystemCalls::kWorkerStart;
  request.limits.cpu_seconds = 600;  // of all calls; one call is limited by call_seconds
  request.limits.file_bytes = 0;
  request.limits.tmp_bytes = 1 << 20;
  // glibc reserves 64 MiB per thread for its heaps, and a thread has 8 MiB of stack.
  request.limits.address_space_bytes =
      memory.input_bytes() + memory.output_bytes() + (std::size_t{1} << 30) + static_cast<std::size_t>(options.threads) * (72 << 20);
  WorkerConnection connection = TRY(WorkerConnection::start(request, options.isolation, memory, options.call_seconds));
  return std::unique_ptr<WorkerRunner>(new WorkerRunner(std::move(call), std::move(connection), options));
}

Result<double> WorkerRunner::exchange(std::uint32_t command, int threads) {
  const WorkerConnection::Answer answer = TRY(worker_.exchange(command, threads));
  switch (static_cast<WorkerStatus>(answer.reply.status)) {
    case WorkerStatus::kDone: return answer.seconds;
    case WorkerStatus::kNoFunction: return worker_.ended("the library does not define the kernel");
    case WorkerStatus::kWorkspaceTooBig: return worker_.ended("it asked for a larger workspace than 256 MiB");
    case WorkerStatus::kCannotLoad:
    case WorkerStatus::kThrew: break;
  }
  return worker_.ended("it broke the protocol: an answer that does not exist");
}

Result<double> WorkerRunner::timed_run(LoraDirection direction, const LoraProblem& problem, int threads, LoraOutputs& outputs) {
  CHECK(threads >= 1 && threads <= options_.threads);
  if (worker_.has_ended()) return Error{ErrorCode::kBadData, "it has ended before"};
  TRY(call_.place(direction, problem, outputs));
  TRY(exchange(static_cast<std::uint32_t>(WorkerCommand::kPrepare), threads));
  const double seconds = TRY(exchange(static_cast<std::uint32_t>(WorkerCommand::kRun), threads));
  worker_.process().freeze();
  const auto touched = call_.violation(problem);
  call_.fetch(outputs);
  worker_.process().thaw();
  if (touched.has_value()) return worker_.ended(*touched);
  return seconds;
}

}  // namespace evolora
