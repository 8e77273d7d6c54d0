// expect: rules
// without rules: crash
// Sends itself a signal.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <signal.h>
#define BEFORE_FORWARD(args, context) raise(SIGKILL);
