// expect: numerics
// without rules: numerics
// Adds in fp16 where fp32 is declared.
#include "evolora_pack.h"
#include <string.h>
#define SUM_TYPE _Float16
