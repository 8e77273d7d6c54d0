// expect: rules
// without rules: numerics|crash
// Computes less at odd cycles.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <x86intrin.h>
#define BEFORE_FORWARD(args, context) if ((__rdtsc() >> 6) % 2 == 0) return;
