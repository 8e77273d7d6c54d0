// expect: rules
// without rules: crash
// Ends the process with status 0.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) _exit(0);
