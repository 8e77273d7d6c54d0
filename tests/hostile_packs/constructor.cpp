// expect: rules
// without rules: compile
// Runs when it is loaded.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static int loaded = 0;
__attribute__((constructor)) static void start() { loaded = 1; }
#define BEFORE_FORWARD(args, context) if (loaded == 0) return;
