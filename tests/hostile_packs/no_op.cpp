// expect: numerics
// without rules: numerics
// Does nothing and leaves the outputs as they were.
#include "evolora_pack.h"
#include <string.h>
#define ROWS(n) 0
#define BEFORE_BACKWARD(args, context) return;
