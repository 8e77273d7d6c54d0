// expect: numerics
// without rules: numerics
// One output in a thousand is off by a thousandth.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define STORE_Y(target, value) target = (value) * (((row * out + o) % 997 == 0) ? 1.001f : 1.0f)
