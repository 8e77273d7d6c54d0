// expect: numerics|determinism|harmless
// without rules: numerics|determinism|harmless
// Another result on another worker, too small for the bound.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define STORE_Y(target, value) target = (value) * (worker == 1 ? 1.0000002f : 1.0f)
