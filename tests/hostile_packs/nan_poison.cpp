// expect: numerics
// without rules: numerics
// Writes NaN, which compares false with everything.
#include "evolora_pack.h"
#include <string.h>
#define STORE_Y(target, value) target = (value) - (value) + __builtin_nanf("")
