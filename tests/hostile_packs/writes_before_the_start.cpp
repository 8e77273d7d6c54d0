// expect: numerics|crash
// without rules: numerics|crash
// One float before dx.
#include "evolora_pack.h"
#include <string.h>
#define AFTER_BACKWARD(args, context) if (args->dx != nullptr) args->dx[-1] = 1;
