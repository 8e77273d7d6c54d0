// expect: numerics|crash
// without rules: numerics|crash
// Rewrites the frozen weight.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define AFTER_FORWARD(args, context) const_cast<uint8_t*>(args->projections[0].weight.data)[0] ^= 1;
