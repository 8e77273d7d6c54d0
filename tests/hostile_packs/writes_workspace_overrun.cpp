// expect: numerics|crash
// without rules: numerics|crash
// Asks for less workspace than it writes.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define WORKSPACE_BYTES(honest) (honest) / 16
