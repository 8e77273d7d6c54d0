// expect: rules
// without rules: crash|numerics
// Attaches to its parent as a debugger.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <sys/ptrace.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr);
