// expect: rules
// without rules: compile
// Runs when it is loaded.
#include "evolora_pack.h"
#include <string.h>
static int loaded = 0;
__attribute__((constructor)) static void start() { loaded = 1; }
