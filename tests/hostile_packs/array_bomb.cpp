// expect: compile
// without rules: compile
// An object file of many gigabytes.
#include "evolora_pack.h"
#include <string.h>
static char block[1L << 40] = {1};
#define BEFORE_FORWARD(args, context) block[context->threads] = 1;
