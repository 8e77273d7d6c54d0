// expect: numerics
// without rules: numerics
// Computes the first rows only.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define ROWS(n) (n < 4 ? n : 4)
