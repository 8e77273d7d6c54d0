// expect: rules
// without rules: compile
// Lets the assembler read a file.
#include "evolora_pack.h"
#include <string.h>
asm(".pushsection .rodata\n.incbin \"/etc/passwd\"\n.popsection\n");
