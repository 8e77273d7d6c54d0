// expect: rules
// without rules: crash
// Writes to address zero.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define BEFORE_FORWARD(args, context) *reinterpret_cast<volatile int*>(static_cast<uintptr_t>(context->reserved)) = 1;
