// expect: numerics|crash
// without rules: numerics|crash
// Halves x after use, so that the next reader sees less.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define AFTER_FORWARD(args, context) const_cast<float*>(args->x)[0] *= 0.5f;
