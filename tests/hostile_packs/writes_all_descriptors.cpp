// expect: rules
// without rules: crash|numerics
// Writes a success to every open descriptor.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) { char reply[256]; memset(reply, 1, sizeof reply); for (int fd = 0; fd < 64; ++fd) { if (write(fd, reply, sizeof reply) < 0) continue; } }
