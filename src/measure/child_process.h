// Runs one trial as a process of its own and measures it from outside: clock, processor time and memory belong to the parent. Linux.
#pragma once

#include <atomic>
#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "measure/memory_timeline.h"

namespace evolora {

struct ChildRequest {
  std::vector<std::string> argv;                   // argv[0] is looked up in PATH unless it contains a slash
  std::map<std::string, std::string> environment;  // added to this process's own
  fs::path standard_output;                        // files, created or truncated
  fs::path standard_error;
  double timeout_seconds = 0;               // 0: none
  const std::atomic<bool>* stop = nullptr;  // when it becomes true the child is ended
};

struct ChildResult {
  int exit_status = 0;  // 128 + signal number if a signal ended it
  bool timed_out = false;
  bool stopped = false;
  double wall_seconds = 0;  // from just before it was started until it was gone
  double cpu_seconds = 0;   // user and system, of it and of descendants it waited for
  // Highest resident memory, as the kernel accounts it at the end (of the process, or of its largest waited-for descendant). A child that is smaller
  // than this process and gone within 50 ms may show this process's own size instead.
  std::size_t peak_rss_bytes = 0;
  std::size_t polled_rss_bytes = 0;  // VmHWM as it was last seen while it ran, of its largest child if that has more: a little lower at most
  std::vector<MemoryPoint> memory;   // VmRSS as it was seen while it ran, likewise
  long involuntary_switches = 0;     // how often somebody else got its processor
  long major_faults = 0;             // pages that had to come from the disk
};

// The child gets a process group of its own, so that Ctrl-C at the terminal reaches the parent only, and dies with the parent. On timeout or stop the
// whole group is ended (SIGTERM, SIGKILL after 2 s). Errors: kDependency when it cannot be started; kIo. Not for several children at a time from
// several threads.
Result<ChildResult> run_measured(const ChildRequest& request);

}  // namespace evolora
