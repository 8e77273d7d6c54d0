// expect: rules
// without rules: crash
// Ends the process with status 0.
#include "evolora_pack.h"
#include <string.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) _exit(0);
