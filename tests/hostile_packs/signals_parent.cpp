// expect: rules
// without rules: crash|numerics
// Ends its parent.
#include "evolora_pack.h"
#include <string.h>
#include <signal.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) kill(getppid(), SIGTERM);
