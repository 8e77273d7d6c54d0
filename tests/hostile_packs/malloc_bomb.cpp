// expect: rules
// without rules: crash|timeout
// Takes memory without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdlib.h>
#define BEFORE_FORWARD(args, context) for (;;) { char* block = static_cast<char*>(malloc(1 << 24)); memset(block, 1, 1 << 24); }
