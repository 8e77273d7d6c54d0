// expect: rules
// without rules: timeout
// One task spins, the others are done.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define BEFORE_FORWARD(args, context) context->for_each(context->pool, 2, [](void*, size_t i, int) { for (volatile int spin = 0; i == 1; ++spin) {} }, nullptr);
