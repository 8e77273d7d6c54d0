// expect: numerics
// without rules: numerics
// Takes small outputs for zero.
#include "evolora_pack.h"
#include <string.h>
#define STORE_Y(target, value) target = ((value) < 1e-3f && (value) > -1e-3f) ? 0.0f : (value)
