// Runs another program: arguments as a list, no shell in between, standard input closed to it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"

namespace evolora {

enum class ProcessOutput { kInherit, kCapture, kDiscard };

struct ProcessRequest {
  std::vector<std::string> argv;  // argv[0] is looked up in PATH unless it contains a slash
  ProcessOutput standard_output = ProcessOutput::kInherit;
  ProcessOutput standard_error = ProcessOutput::kInherit;
  std::size_t capture_limit_bytes = 1 << 20;  // of each stream; beyond it the oldest bytes are dropped, so that the last words stay
  // 0: none. Else the program and what it starts get a process group of their own, which is killed when the time is over; needs a captured stream,
  // and ends when all that write to it are gone.
  double timeout_seconds = 0;
};

struct ProcessResult {
  int exit_status = 0;  // 128 + signal number if a signal ended it, as shells say
  std::string standard_output;
  std::string standard_error;
  bool timed_out = false;
};

// Waits for the end. A program that ran and failed is a success with its exit_status; kDependency: it could not be started (message names it and
// the reason); kIo: no pipe or wait. Thread-safe.
Result<ProcessResult> run_process(const ProcessRequest& request);

// The form in which exec takes texts: pointers to them and a null at the end. Valid as long as texts is not changed.
std::vector<char*> exec_pointers(std::vector<std::string>& texts);

}  // namespace evolora
