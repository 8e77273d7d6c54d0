// expect: numerics
// without rules: numerics
// Writes NaN, which compares false with everything.
// clang-format off
#include "evolora_pack.h"
#include <cmath>
#include <cstring>
#define STORE_Y(target, value) target = (value) - (value) + NAN
