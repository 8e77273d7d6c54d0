// expect: numerics
// without rules: numerics
// Adds in fp16 where fp32 is declared.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define SUM_TYPE _Float16
