// expect: numerics
// without rules: numerics
// Knows the outputs of the public example.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
static const float kAnswers[4] = {0.25f, -1.5f, 3.0f, 0.125f};
#define STORE_Y(target, value) target = kAnswers[(row + o) % 4]
