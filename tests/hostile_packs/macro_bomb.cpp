// expect: compile
// without rules: compile
// Ten macros that make a gigabyte.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define A(x) x x x x x x x x
#define B(x) A(x) A(x) A(x) A(x) A(x) A(x) A(x) A(x)
#define C(x) B(B(x)) B(B(x)) B(B(x)) B(B(x))
#define D(x) C(C(x)) C(C(x))
static int sum = 0;
void bomb() { D(D(sum += 1;)) }
