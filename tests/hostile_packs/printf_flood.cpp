// expect: rules
// without rules: crash|timeout
// Prints without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdio.h>
#define BEFORE_FORWARD(args, context) for (;;) printf("flood flood flood flood flood flood flood flood\n");
