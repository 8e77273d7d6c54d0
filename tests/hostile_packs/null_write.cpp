// expect: crash
// without rules: crash
// Writes to address zero.
#include "evolora_pack.h"
#include <string.h>
#define BEFORE_FORWARD(args, context) *reinterpret_cast<volatile int*>(static_cast<uintptr_t>(context->reserved)) = 1;
