// expect: numerics
// without rules: numerics
// Trains without the mask.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define KEEPS(p, index) true
