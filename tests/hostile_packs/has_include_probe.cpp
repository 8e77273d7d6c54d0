// expect: rules
// without rules: numerics|harmless
// Asks which files exist.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#if __has_include("/etc/passwd")
#define STORE_Y(target, value) target = 0
#endif
