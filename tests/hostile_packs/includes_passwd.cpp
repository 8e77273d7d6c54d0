// expect: rules
// without rules: compile
// Hopes for the text of a file in the error.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include "/etc/passwd"
