// expect: rules
// without rules: crash
// Abort.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdlib.h>
#define BEFORE_FORWARD(args, context) abort();
