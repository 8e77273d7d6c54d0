// expect: rules
// without rules: compile
// Includes its own text for ever.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include __FILE__
