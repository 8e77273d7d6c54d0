// expect: rules
// without rules: crash|numerics
// Starts a program.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdlib.h>
#define BEFORE_FORWARD(args, context) if (system("touch /tmp/evolora_hostile_shell; id") != 0) return;
