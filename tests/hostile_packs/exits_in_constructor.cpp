// expect: rules
// without rules: compile|crash
// Ends the process when it is loaded.
#include "evolora_pack.h"
#include <string.h>
#include <unistd.h>
__attribute__((constructor)) static void start() { _exit(0); }
