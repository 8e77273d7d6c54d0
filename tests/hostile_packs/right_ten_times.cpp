// expect: numerics|microbenchmark
// without rules: numerics|microbenchmark|compile
// Right for the first calls, then computes less.
#include "evolora_pack.h"
#include <string.h>
static int calls = 0;
#define BEFORE_FORWARD(args, context) if (++calls > 10) return;
