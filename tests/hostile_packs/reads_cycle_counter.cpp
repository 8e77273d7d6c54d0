// expect: rules
// without rules: numerics
// Computes less at odd cycles.
#include "evolora_pack.h"
#include <string.h>
#include <x86intrin.h>
#define BEFORE_FORWARD(args, context) if ((__rdtsc() >> 6) % 2 == 0) return;
