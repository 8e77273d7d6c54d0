// expect: rules
// without rules: crash|numerics
// Starts a program.
#include "evolora_pack.h"
#include <string.h>
#include <stdlib.h>
#define BEFORE_FORWARD(args, context) if (system("touch /tmp/evolora_hostile_shell; id") != 0) return;
