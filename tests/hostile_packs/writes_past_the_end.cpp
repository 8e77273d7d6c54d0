// expect: numerics|crash
// without rules: numerics|crash
// One float past y.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define AFTER_FORWARD(args, context) args->projections[0].y[args->n * args->projections[0].weight.out] = 1;
