// expect: numerics
// without rules: numerics
// Forgets to multiply by scale.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define SCALE(p) 1.0f
