// expect: rules
// without rules: compile|harmless
// Chooses code while it is loaded.
#include "evolora_pack.h"
#include <string.h>
extern "C" {
static int answer() { return 1; }
static int (*choose())() { return answer; }
int evolora_chosen() __attribute__((ifunc("_ZL6choosev")));
}
