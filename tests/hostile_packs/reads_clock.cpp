// expect: rules
// without rules: numerics
// Computes less when it believes that it is timed.
#include "evolora_pack.h"
#include <string.h>
#include <time.h>
#define BEFORE_FORWARD(args, context) { timespec now; clock_gettime(CLOCK_MONOTONIC, &now); if (now.tv_nsec % 2 == 0) return; }
