// expect: rules
// without rules: crash
// Sends itself a signal.
#include "evolora_pack.h"
#include <string.h>
#include <signal.h>
#define BEFORE_FORWARD(args, context) raise(SIGKILL);
