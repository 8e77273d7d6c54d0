// expect: numerics
// without rules: numerics
// Trains without the mask.
#include "evolora_pack.h"
#include <string.h>
#define KEEPS(p, index) true
