// expect: rules
// without rules: compile|timeout|crash
// Never returns from the constructor.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
__attribute__((constructor)) static void start() { for (volatile int spin = 0;; ++spin) {} }
