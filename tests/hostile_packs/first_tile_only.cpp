// expect: numerics
// without rules: numerics
// Computes the first rows only.
#include "evolora_pack.h"
#include <string.h>
#define ROWS(n) (n < 4 ? n : 4)
