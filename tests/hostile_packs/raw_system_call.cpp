// expect: rules
// without rules: crash|numerics
// Makes a system call without the C library.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <sys/syscall.h>
#define BEFORE_FORWARD(args, context) { long result; asm volatile("syscall" : "=a"(result) : "a"(SYS_getppid) : "rcx", "r11", "memory"); }
