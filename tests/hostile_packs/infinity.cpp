// expect: numerics
// without rules: numerics
// Writes infinity where a product is large.
#include "evolora_pack.h"
#include <string.h>
#define STORE_Y(target, value) target = (value) > 1 ? __builtin_inff() : (value)
