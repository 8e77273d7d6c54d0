// expect: rules
// without rules: crash|numerics
// Makes a system call without the C library.
#include "evolora_pack.h"
#include <string.h>
#include <sys/syscall.h>
#define BEFORE_FORWARD(args, context) { long result; asm volatile("syscall" : "=a"(result) : "a"(SYS_getppid) : "rcx", "r11", "memory"); }
