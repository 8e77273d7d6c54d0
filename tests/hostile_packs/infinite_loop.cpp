// expect: rules
// without rules: timeout
// Never returns.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define BEFORE_FORWARD(args, context) for (volatile int spin = 0;; ++spin) {}
