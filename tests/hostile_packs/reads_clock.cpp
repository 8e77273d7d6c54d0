// expect: rules
// without rules: numerics|crash
// Computes less when it believes that it is timed.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <time.h>
#define BEFORE_FORWARD(args, context) { timespec now; clock_gettime(CLOCK_MONOTONIC, &now); if (now.tv_nsec % 2 == 0) return; }
