// expect: rules
// without rules: crash|numerics
// Replaces a result by a link.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) { unlink("/tmp/evolora_hostile_link"); if (symlink("/etc/passwd", "/tmp/evolora_hostile_link") != 0) return; }
