// expect: rules
// without rules: crash|numerics
// Leaves a process behind.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) if (fork() == 0) { setsid(); sleep(86399); _exit(0); }
