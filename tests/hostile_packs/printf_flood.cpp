// expect: rules
// without rules: crash|timeout
// Prints without end.
#include "evolora_pack.h"
#include <string.h>
#include <stdio.h>
#define BEFORE_FORWARD(args, context) for (;;) printf("flood flood flood flood flood flood flood flood\n");
