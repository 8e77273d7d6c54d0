// expect: numerics|determinism
// without rules: numerics|determinism
// All tasks add to one output, without order.
// clang-format off
#include <cstring>
#include "evolora_pack.h"
static void add_without_order(void* y, size_t i, int) {
  float* at = static_cast<float*>(y);
  for (int k = 0; k < 50; ++k) *at = *at * 1.0000001f + 1e-9f * static_cast<float>(i);
}
#define AFTER_FORWARD(args, context) context->for_each(context->pool, 4096, add_without_order, args->projections[0].y);
