// A sandboxed worker and the two pipes to it: requests that carry a random number, answers that must repeat it, and what its end means.
#pragma once

#include <optional>
#include <string>

#include "base/file_system.h"
#include "evolve/judge/shared_memory.h"
#include "evolve/sandbox/sandbox.h"
#include "evolve/sandbox/worker_protocol.h"

namespace evolora {

// A program or library that was built with this one and lies beside it; kDependency naming it if not.
Result<fs::path> judging_file(const char* name);

// Not thread-safe; the worker ends with the thread that started it.
class WorkerConnection {
 public:
  struct Answer {
    double seconds = 0;  // from the request to the answer, this process's clock
    WorkerReply reply;   // of a worker that may be taken over: its text ends with a NUL, and nothing else is sure
  };

  // Starts request.argv with pipes, filters and memory at the numbers of worker_protocol.h, and waits for its first answer. kBadData: the candidate's
  // fault (it does not load, ends the worker, takes too long); kDependency: no worker program, no sandbox.
  static Result<WorkerConnection> start(SandboxRequest request, Isolation isolation, const SharedMemory& memory, double answer_seconds);

  // The functions that the library has, as it said at the start.
  std::uint32_t functions() const { return functions_; }
  bool has_ended() const { return ended_; }
  SandboxedProcess& process() { return process_; }

  // kBadData: the worker is gone, too slow, or broke the protocol.
  Result<Answer> exchange(std::uint32_t command, int threads);
  // Ends it, for the reason.
  Error ended(const std::string& what);

 private:
  WorkerConnection(SandboxedProcess process, double answer_seconds) : process_(std::move(process)), answer_seconds_(answer_seconds) {}
  Status read_reply(WorkerReply& reply);

  SandboxedProcess process_;
  double answer_seconds_;
  Descriptor requests_, replies_;
  std::uint32_t functions_ = 0;
  bool ended_ = false;
};

}  // namespace evolora
