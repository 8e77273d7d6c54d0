// expect: numerics
// without rules: numerics
// Writes zeros.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define STORE_Y(target, value) target = 0
