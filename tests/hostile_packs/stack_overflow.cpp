// expect: crash
// without rules: crash
// Recursion without end.
#include "evolora_pack.h"
#include <string.h>
static int deep(volatile int n) {
  volatile char block[4096];
  block[n % 4096] = 1;
  return deep(n + 1) + block[0];
}
#define BEFORE_FORWARD(args, context) if (deep(0) == 1) return;
