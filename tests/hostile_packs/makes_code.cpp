// expect: rules
// without rules: crash|numerics
// Maps memory that can be executed.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <sys/mman.h>
#define BEFORE_FORWARD(args, context) { void* code = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); memcpy(code, "\xc3", 1); reinterpret_cast<void (*)()>(code)(); }
