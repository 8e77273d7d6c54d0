// expect: rules
// without rules: compile|timeout|crash
// Never returns from the constructor.
#include "evolora_pack.h"
#include <string.h>
__attribute__((constructor)) static void start() { for (volatile int spin = 0;; ++spin) {} }
