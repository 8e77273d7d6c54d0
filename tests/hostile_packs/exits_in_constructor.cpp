// expect: rules
// without rules: compile|crash
// Ends the process when it is loaded.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <unistd.h>
__attribute__((constructor)) static void start() { _exit(0); }
