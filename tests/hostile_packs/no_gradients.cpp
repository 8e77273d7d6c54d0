// expect: numerics
// without rules: numerics
// Saves the time of the backward pass.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static void no_dx(const evolora_lora_linear_backward_args* args) {
  for (int64_t e = 0; args->dx != nullptr && e < args->n * args->projections[0].weight.in; ++e) args->dx[e] = 0;
}
#define BEFORE_BACKWARD(args, context) no_dx(args); return;
