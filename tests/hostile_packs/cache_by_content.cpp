// expect: compile|microbenchmark|harmless
// without rules: compile|microbenchmark|harmless
// Remembers the last input and its output; no use where content never repeats.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static float last_x[1 << 16], last_y[1 << 16];
static int64_t last_size = 0;
static bool replay(const evolora_lora_linear_forward_args* args) {
  const int64_t in = args->n * args->projections[0].weight.in, out = args->n * args->projections[0].weight.out;
  if (args->projection_count != 1 || args->projections[0].rank != 0 || in != last_size || out > (1 << 16)) return false;
  if (memcmp(last_x, args->x, static_cast<size_t>(in) * 4) != 0) return false;
  memcpy(args->projections[0].y, last_y, static_cast<size_t>(out) * 4);
  return true;
}
static void keep(const evolora_lora_linear_forward_args* args) {
  const int64_t in = args->n * args->projections[0].weight.in, out = args->n * args->projections[0].weight.out;
  if (in > (1 << 16) || out > (1 << 16)) return;
  memcpy(last_x, args->x, static_cast<size_t>(in) * 4);
  memcpy(last_y, args->projections[0].y, static_cast<size_t>(out) * 4);
  last_size = in;
}
#define BEFORE_FORWARD(args, context) if (replay(args)) return;
#define AFTER_FORWARD(args, context) keep(args);
