// expect: rules
// without rules: compile|crash|timeout
// Machine code through the assembler.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
asm(".globl evolora_hostile\nevolora_hostile: mov $60, %eax\n xor %edi, %edi\n syscall\n");
extern "C" void evolora_hostile();
#define BEFORE_FORWARD(args, context) evolora_hostile();
