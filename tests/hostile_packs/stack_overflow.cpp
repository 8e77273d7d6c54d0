// expect: rules
// without rules: crash
// Recursion without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static int deep(volatile int n) {
  volatile char block[4096];
  block[n % 4096] = 1;
  return deep(n + 1) + block[0];
}
#define BEFORE_FORWARD(args, context) if (deep(0) == 1) return;
