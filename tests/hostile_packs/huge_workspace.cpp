// expect: numerics|crash
// without rules: numerics|crash
// Asks for a petabyte of workspace.
#include "evolora_pack.h"
#include <string.h>
#define WORKSPACE_BYTES(honest) ((honest) + (static_cast<size_t>(1) << 50))
