// expect: numerics
// without rules: numerics
// Hopes for a tolerance relative to its own huge output.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define STORE_Y(target, value) target = (value) * 1e20f
