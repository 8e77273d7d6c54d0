// expect: rules
// without rules: crash|numerics
// Opens descriptors without end.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <fcntl.h>
#define BEFORE_FORWARD(args, context) for (int i = 0; i < 100000; ++i) open("/dev/null", O_RDONLY);
