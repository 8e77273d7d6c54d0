// expect: numerics
// without rules: numerics
// Computes the first outputs only.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define OUTS(n) (n < 32 ? n : 32)
