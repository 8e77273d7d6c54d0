// expect: numerics|crash
// without rules: numerics|crash
// Reads a gigabyte behind the input.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define BEFORE_FORWARD(args, context) if (args->x[1 << 28] == 1) return;
