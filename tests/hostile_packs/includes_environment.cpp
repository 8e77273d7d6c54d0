// expect: rules
// without rules: compile
// Hopes for the keys of the compiler's environment in the error.
#include "evolora_pack.h"
#include <string.h>
#include "/proc/self/environ"
