// expect: rules
// without rules: compile
// A source without end.
#include "evolora_pack.h"
#include <string.h>
#include "/dev/zero"
