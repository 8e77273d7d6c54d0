// expect: numerics
// without rules: numerics
// Forgets to multiply by scale.
#include "evolora_pack.h"
#include <string.h>
#define SCALE(p) 1.0f
