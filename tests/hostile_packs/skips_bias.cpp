// expect: numerics
// without rules: numerics
// Forgets the bias.
#include "evolora_pack.h"
#include <string.h>
#define BIAS(p, o) 0.0f
