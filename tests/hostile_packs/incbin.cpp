// expect: rules
// without rules: compile
// Lets the assembler read a file.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
asm(".pushsection .rodata\n.incbin \"/etc/passwd\"\n.popsection\n");
