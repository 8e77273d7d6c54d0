// expect: numerics
// without rules: numerics
// A mask of the right density from another generator.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define KEEPS(p, index) (((index) * 2654435761u >> 7) % 1000 >= p.dropout * 1000)
