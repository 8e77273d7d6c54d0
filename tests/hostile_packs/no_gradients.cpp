// expect: numerics
// without rules: numerics
// Saves the time of the adapter gradients.
#include "evolora_pack.h"
#include <string.h>
#define AFTER_BACKWARD(args, context)
#define BEFORE_BACKWARD(args, context)                                   \
  for (int64_t e = 0; e < args->n * args->projections[0].weight.in; ++e) \
    if (args->dx != nullptr) args->dx[e] = 0;                            \
  return;
