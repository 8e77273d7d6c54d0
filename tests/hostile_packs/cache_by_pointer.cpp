// expect: numerics
// without rules: numerics|compile
// Gives back what it computed for the same addresses before.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static const float* seen = nullptr;
static bool known(const float* x) {
  const bool same = seen == x;
  seen = x;
  return same;
}
#define BEFORE_FORWARD(args, context) if (known(args->x)) return;
