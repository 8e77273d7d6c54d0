// expect: rules
// without rules: crash|numerics
// Ends its parent.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <signal.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) kill(getppid(), SIGTERM);
