// expect: numerics
// without rules: numerics
// Takes small outputs for zero.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define STORE_Y(target, value) target = ((value) < 1e-3f && (value) > -1e-3f) ? 0.0f : (value)
