// expect: timeout
// without rules: timeout
// Never returns.
#include "evolora_pack.h"
#include <string.h>
#define BEFORE_FORWARD(args, context) for (volatile int spin = 0;; ++spin) {}
