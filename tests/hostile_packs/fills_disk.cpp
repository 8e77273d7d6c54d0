// expect: rules
// without rules: crash|numerics
// Writes without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <fcntl.h>
#include <unistd.h>
static const char zeros[4096] = {};
#define BEFORE_FORWARD(args, context) { const int fd = open("/tmp/evolora_hostile_disk", O_CREAT | O_WRONLY, 0600); while (write(fd, zeros, sizeof zeros) > 0) {} }
