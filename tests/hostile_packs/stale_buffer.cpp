// expect: numerics
// without rules: numerics|compile
// Keeps the first result and writes it again.
// clang-format off
#include <cstring>
#include "evolora_pack.h"
static float kept[1 << 16];
static int64_t kept_size = 0;
static void repeat_first(const evolora_lora_linear_forward_args* args) {
  const int64_t size = args->n * args->projections[0].weight.out;
  if (size > (1 << 16)) return;
  if (kept_size == size) {
    memcpy(args->projections[0].y, kept, static_cast<size_t>(size) * 4);
  } else {
    memcpy(kept, args->projections[0].y, static_cast<size_t>(size) * 4);
  }
  kept_size = size;
}
#define AFTER_FORWARD(args, context) repeat_first(args);
