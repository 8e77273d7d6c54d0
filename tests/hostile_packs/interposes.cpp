// expect: rules
// without rules: compile|harmless|numerics
// Replaces a function of the C library.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
extern "C" void* memset(void* to, int value, size_t size) { char* at = static_cast<char*>(to); for (size_t i = 0; i < size; ++i) at[i] = static_cast<char>(value + 1); return to; }
