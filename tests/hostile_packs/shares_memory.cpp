// expect: rules
// without rules: crash|numerics
// Leaves a named shared memory.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#define BEFORE_FORWARD(args, context) shm_open("/evolora_hostile_shm", O_CREAT | O_RDWR, 0600);
