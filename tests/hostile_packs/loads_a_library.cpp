// expect: rules
// without rules: crash|numerics
// Loads more code.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <dlfcn.h>
#define BEFORE_FORWARD(args, context) { void* handle = dlopen("libutil.so.1", RTLD_NOW); if (handle == nullptr) return; }
