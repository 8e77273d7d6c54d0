// expect: numerics|crash
// without rules: numerics|crash
// Asks for less workspace than it writes.
#include "evolora_pack.h"
#include <string.h>
#define WORKSPACE_BYTES(honest) (honest) / 16
