// expect: rules
// without rules: crash|numerics
// Starts processes without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) for (;;) { if (fork() < 0) break; }
