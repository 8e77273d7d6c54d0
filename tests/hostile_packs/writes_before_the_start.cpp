// expect: numerics|crash
// without rules: numerics|crash
// One float before dx.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define AFTER_BACKWARD(args, context) if (args->dx != nullptr) args->dx[-1] = 1;
