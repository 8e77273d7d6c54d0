// expect: numerics
// without rules: numerics
// Computes the first outputs only.
#include "evolora_pack.h"
#include <string.h>
#define OUTS(n) (n < 32 ? n : 32)
