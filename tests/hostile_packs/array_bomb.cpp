// expect: compile
// without rules: compile
// An object file of many gigabytes.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static char block[1L << 40] = {1};
#define BEFORE_FORWARD(args, context) block[context->threads] = 1; if (block[args->n] == 2) return;
