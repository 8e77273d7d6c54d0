// expect: rules
// without rules: crash|numerics
// Writes without end.
#include "evolora_pack.h"
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
static char zeros[1 << 20];
#define BEFORE_FORWARD(args, context) { const int fd = open("/tmp/evolora_hostile_disk", O_CREAT | O_WRONLY, 0600); while (write(fd, zeros, sizeof zeros) > 0) {} }
