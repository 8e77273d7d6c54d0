// expect: numerics|crash
// without rules: numerics|crash
// Asks for a petabyte of workspace.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define WORKSPACE_BYTES(honest) ((honest) + (static_cast<size_t>(1) << 50))
