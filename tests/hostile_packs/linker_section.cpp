// expect: rules
// without rules: compile
// Data in a section that runs at the start.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static void start() {}
__attribute__((section(".init_array"), used)) static void (*const hook)() = start;
