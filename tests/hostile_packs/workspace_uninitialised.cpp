// expect: numerics|determinism
// without rules: numerics|determinism
// Adds to workspace that nobody cleared.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define AFTER_FORWARD(args, context) args->projections[0].y[0] += reinterpret_cast<float*>(context->workspace)[context->workspace_bytes / 4 - 1];
