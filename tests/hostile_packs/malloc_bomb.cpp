// expect: rules
// without rules: crash
// Takes memory without end.
#include "evolora_pack.h"
#include <string.h>
#include <stdlib.h>
#define BEFORE_FORWARD(args, context) for (;;) { char* block = static_cast<char*>(malloc(1 << 24)); memset(block, 1, 1 << 24); }
