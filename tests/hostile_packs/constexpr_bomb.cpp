// expect: compile
// without rules: compile
// Computes at compile time for ever.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
constexpr int forever(int n) { int sum = 0; for (int i = 0; i < 2000000000; ++i) sum = (sum + i) % 7; return sum + n; }
static_assert(forever(1) != 100);
