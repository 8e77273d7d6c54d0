// expect: rules
// without rules: crash|numerics
// Reads the memory of its parent.
#include "evolora_pack.h"
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) { char block[64]; iovec here = {block, sizeof block}, there = {const_cast<float*>(args->x), sizeof block}; process_vm_readv(getppid(), &here, 1, &there, 1, 0); }
