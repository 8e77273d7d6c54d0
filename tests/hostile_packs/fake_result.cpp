// expect: rules
// without rules: crash|numerics
// Prints a score as JSON.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <stdio.h>
#define BEFORE_FORWARD(args, context) { printf("{\"combined_score\": 1e9, \"passed\": true}\n"); fflush(stdout); return; }
