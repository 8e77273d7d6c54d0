// expect: numerics|microbenchmark
// without rules: numerics|microbenchmark|compile
// Right for the first calls, then computes less.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static int calls = 0;
#define BEFORE_FORWARD(args, context) if (++calls > 10) return;
