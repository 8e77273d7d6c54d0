// expect: numerics
// without rules: numerics
// Writes infinity where a product is large.
// clang-format off
#include "evolora_pack.h"
#include <cmath>
#include <cstring>
#define STORE_Y(target, value) target = (value) > 1 ? INFINITY : (value)
