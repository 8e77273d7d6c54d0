// expect: numerics
// without rules: numerics
// Hopes for a tolerance relative to its own huge output.
#include "evolora_pack.h"
#include <string.h>
#define STORE_Y(target, value) target = (value) * 1e20f
