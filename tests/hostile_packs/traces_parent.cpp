// expect: rules
// without rules: crash|numerics
// Attaches to its parent as a debugger.
#include "evolora_pack.h"
#include <string.h>
#include <sys/ptrace.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) ptrace(PTRACE_ATTACH, getppid(), nullptr, nullptr);
