// Runs a program that is not trusted: in namespaces of its own with an empty view of the machine (bubblewrap), behind a list of system calls
// (seccomp), under limits, and with an end that leaves nothing behind. Linux.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/file_system.h"
#include "evolve/sandbox/descriptor.h"
#include "evolve/sandbox/system_calls.h"

namespace evolora {

enum class Isolation {
  kSandbox,
  kNone,  // the same program, limits and pipes, without namespaces and filter: only when the user asked for it in as many words
};

// What of the system is there to read. Nothing else of the machine is: no /home, /etc, /sys, no devices but null, zero and urandom.
enum class SandboxRoot {
  kLibraries,  // /usr/lib, /lib and their like
  kSystem,     // all of /usr
};

struct SandboxMount {
  enum class Access { kRead, kWrite };
  fs::path path;  // a file or folder that exists; absolute, and the same inside
  Access access = Access::kRead;
};

struct SandboxLimits {
  double wall_seconds = 60;
  std::int64_t cpu_seconds = 60;                           // of each process
  std::size_t address_space_bytes = std::size_t{4} << 30;  // of each process
  std::size_t file_bytes = std::size_t{64} << 20;          // the largest file that may be written
  std::size_t tmp_bytes = std::size_t{64} << 20;           // /tmp, a file system of its own in memory
};

struct SandboxRequest {
  std::vector<std::string> argv;                   // argv[0]: absolute
  std::map<std::string, std::string> environment;  // all of it
  SandboxRoot root = SandboxRoot::kLibraries;
  std::vector<SandboxMount> mounts;
  fs::path folder = "/tmp";  // where it starts
  bool has_proc = false;     // a /proc, of its own processes
  SystemCalls system_calls = SystemCalls::kTraining;
  SandboxLimits limits;
  std::vector<std::pair<int, int>> descriptors;  // of this process -> number inside, 3 to 389; all others are closed
  std::size_t output_limit_bytes = 64 * 1024;    // of each stream; beyond it the oldest bytes are dropped
};

struct SandboxResult {
  int exit_status = 0;  // 128 + signal number if a signal ended it
  bool timed_out = false;
  bool stopped = false;
  std::string standard_output;  // untrusted text
  std::string standard_error;
  double wall_seconds = 0;
};

// Nothing, if programs can be sandboxed here; else kDependency with the reason and what to do. Starts a program: some milliseconds.
Status sandbox_available();

// Until the program and all that it started are gone: when it ends, at the limit, or when stop becomes true. A program that failed is a success with
// its exit_status. kDependency: it could not be started; kIo. Thread-safe.
Result<SandboxResult> run_sandboxed(const SandboxRequest& request, Isolation isolation, const std::atomic<bool>* stop);

// The same for a program that is talked to through descriptors while it runs; its output is discarded and its wall clock is the caller's business.
// Not thread-safe. The program ends with the thread that started it.
class SandboxedProcess {
 public:
  static Result<SandboxedProcess> start(const SandboxRequest& request, Isolation isolation);
  SandboxedProcess(SandboxedProcess&& other) noexcept;
  SandboxedProcess& operator=(SandboxedProcess&&) = delete;
  ~SandboxedProcess();  // as end(0)

  // Halts all its threads until thaw(), within microseconds: what they have not done by then, they do after thaw().
  void freeze();
  void thaw();
  // As the kernel counts it, which the program cannot change: what is in memory, and the most that was since the start or restart_peak_memory().
  // Zeros when it is gone.
  struct Memory {
    std::size_t resident_bytes = 0;
    std::size_t peak_bytes = 0;
  };
  Memory memory() const;
  void restart_peak_memory() const;
  // True once it has ended by itself; waits up to `seconds` for that.
  bool wait(double seconds) { return pid_ <= 0 || exit_status_ >= 0 || reap(seconds); }
  // Waits up to `seconds` for it to end by itself, then kills it with all it started. Exit status as in SandboxResult. Idempotent.
  int end(double seconds);

 private:
  SandboxedProcess() = default;
  friend Result<SandboxResult> run_sandboxed(const SandboxRequest& request, Isolation isolation, const std::atomic<bool>* stop);
  static Result<SandboxedProcess> launch(const SandboxRequest& request, Isolation isolation, int out, int err);
  void kill_all() const;
  void end_group() const;
  bool reap(double seconds);

  int pid_ = -1;         // what this process started: bubblewrap, or the program
  int inside_pid_ = -1;  // the program, first process of its namespace: killing it kills all
  Descriptor pid_handle_;
  bool isolated_ = true;
  int exit_status_ = -1;  // -1: still running
};

}  // namespace evolora
