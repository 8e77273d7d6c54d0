// expect: numerics
// without rules: numerics
// Copies x to y.
#include "evolora_pack.h"
#include <string.h>
#define AFTER_FORWARD(args, context)                                                                    \
  for (int64_t i = 0; i < args->projection_count; ++i) {                                                \
    const evolora_weight& w = args->projections[i].weight;                                              \
    for (int64_t e = 0; e < args->n * w.out; ++e) args->projections[i].y[e] = args->x[e % (args->n * w.in)]; \
  }
