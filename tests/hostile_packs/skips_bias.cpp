// expect: numerics
// without rules: numerics
// Forgets the bias.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define BIAS(p, o) 0.0f
