// expect: rules
// without rules: compile
// A source without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include "/dev/zero"
