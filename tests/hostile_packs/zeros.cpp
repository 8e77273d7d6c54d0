// expect: numerics
// without rules: numerics
// Writes zeros.
#include "evolora_pack.h"
#include <string.h>
#define STORE_Y(target, value) target = 0
