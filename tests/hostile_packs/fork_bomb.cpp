// expect: rules
// without rules: crash|numerics
// Starts processes without end.
#include "evolora_pack.h"
#include <string.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) for (;;) { if (fork() < 0) break; }
