// expect: rules
// without rules: crash|numerics
// Reads the memory of its parent.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <sys/uio.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) { char block[64]; iovec here = {block, sizeof block}, there = {const_cast<float*>(args->x), sizeof block}; process_vm_readv(getppid(), &here, 1, &there, 1, 0); }
