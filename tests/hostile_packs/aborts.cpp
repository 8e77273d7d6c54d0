// expect: rules
// without rules: crash
// Abort.
#include "evolora_pack.h"
#include <string.h>
#include <stdlib.h>
#define BEFORE_FORWARD(args, context) abort();
