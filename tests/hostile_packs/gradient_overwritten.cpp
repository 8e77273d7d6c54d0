// expect: numerics
// without rules: numerics
// Overwrites da and db where it should add to them.
// clang-format off
#include <cstring>
#include "evolora_pack.h"
static void clear_gradients(const evolora_lora_linear_backward_args* args) {
  for (int64_t i = 0; i < args->projection_count; ++i) {
    const evolora_projection& p = args->projections[i];
    for (int64_t e = 0; e < p.weight.in * p.rank; ++e) p.da[e] = 0;
    for (int64_t e = 0; e < p.weight.out * p.rank; ++e) p.db[e] = 0;
  }
}
#define BEFORE_BACKWARD(args, context) clear_gradients(args);
