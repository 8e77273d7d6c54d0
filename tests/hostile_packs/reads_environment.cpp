// expect: rules
// without rules: crash|harmless
// Looks for keys in its own environment.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdio.h>
#include <stdlib.h>
extern char** environ;
#define BEFORE_FORWARD(args, context) for (char** e = environ; e != nullptr && *e != nullptr; ++e) { if (strstr(*e, "KEY") != nullptr) { puts(*e); abort(); } }
