// expect: rules
// without rules: compile
// Includes its own text for ever.
#include "evolora_pack.h"
#include <string.h>
#include __FILE__
