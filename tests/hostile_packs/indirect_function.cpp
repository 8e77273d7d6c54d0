// expect: rules
// without rules: compile|harmless
// Chooses code while it is loaded.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
extern "C" {
static int answer() { return 1; }
static int (*choose())() { return answer; }
int evolora_chosen() __attribute__((ifunc("_ZL6choosev")));
}
