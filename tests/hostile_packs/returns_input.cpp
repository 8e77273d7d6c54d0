// expect: numerics
// without rules: numerics
// Copies x to y.
// clang-format off
#include <cstring>
#include "evolora_pack.h"
static void copy_input(const evolora_lora_linear_forward_args* args) {
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_weight& w = args->projections[i].weight;
    for (int64_t e = 0; e < args->n * w.out; ++e) args->projections[i].y[e] = args->x[e % (args->n * w.in)];
  }
}
#define AFTER_FORWARD(args, context) copy_input(args);
