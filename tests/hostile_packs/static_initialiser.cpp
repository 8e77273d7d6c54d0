// expect: rules
// without rules: compile
// Runs when it is loaded, by an ordinary declaration.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static volatile int zero = 0;
static const int kLoaded = zero + 1;
#define BEFORE_FORWARD(args, context) if (kLoaded == 2) return;
