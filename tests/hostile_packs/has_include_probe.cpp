// expect: rules
// without rules: numerics|harmless
// Asks which files exist.
#include "evolora_pack.h"
#include <string.h>
#if __has_include("/etc/passwd")
#define STORE_Y(target, value) target = 0
#endif
