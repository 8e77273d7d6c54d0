// Which system calls a sandboxed program may make: allow-lists, as programs for the kernel's filter (seccomp), made with libseccomp.
#pragma once

#include <string>

#include "base/result.h"

namespace evolora {

enum class SystemCalls {
  kCompiler,              // starts programs, writes files; no network, no other processes
  kWorkerStart,           // from exec until the worker narrows itself: loads libraries, starts threads, installs filters
  kWorkerLoading,         // while a candidate's library is loaded, and its constructors run: opens files for reading, starts nothing
  kWorkerServing,         // while a candidate's functions are called: memory and waiting, and the two pipes it was born with
  kTraining,              // a training run: files and threads, starts no programs
  kTrainingWithCompiler,  // one with a kernel pack, which asks the compiler who it is: kTraining and kCompiler
};

// The filter as the array of sock_filter that the kernel takes. What is on no list fails with EPERM; tracing, mounting, other namespaces, keys, bpf
// and the like, for workers the network as well, end the whole process at once (SIGSYS), and so does everything unlisted under kWorkerServing.
// kDependency: libseccomp does not know this machine.
Result<std::string> system_call_filter(SystemCalls allowed);

}  // namespace evolora
