// expect: rules
// without rules: compile
// Hopes for the keys of the compiler's environment in the error.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include "/proc/self/environ"
