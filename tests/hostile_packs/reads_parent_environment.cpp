// expect: rules
// without rules: crash|numerics
// Looks for keys in the environment of its parent.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#define BEFORE_FORWARD(args, context) { char path[64]; snprintf(path, sizeof path, "/proc/%d/environ", getppid()); FILE* file = fopen(path, "r"); if (file != nullptr) { char text[4096]; if (fgets(text, sizeof text, file) != nullptr) puts(text); } }
