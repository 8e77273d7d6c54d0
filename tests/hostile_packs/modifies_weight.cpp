// expect: numerics|crash
// without rules: numerics|crash
// Rewrites the frozen weight.
#include "evolora_pack.h"
#include <string.h>
#define AFTER_FORWARD(args, context) const_cast<uint8_t*>(args->projections[0].weight.data)[0] ^= 1;
