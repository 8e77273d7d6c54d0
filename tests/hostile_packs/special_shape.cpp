// expect: numerics|microbenchmark
// without rules: numerics|microbenchmark
// Honest but for the shapes of one model, where it does nothing.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define BEFORE_FORWARD(args, context) if (args->n >= 256 && args->projections[0].weight.in >= 576) return;
