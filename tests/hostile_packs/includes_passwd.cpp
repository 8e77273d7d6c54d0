// expect: rules
// without rules: compile
// Hopes for the text of a file in the error.
#include "evolora_pack.h"
#include <string.h>
#include "/etc/passwd"
