// expect: numerics|determinism
// without rules: numerics|determinism
// Another result for another number of threads.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#define STORE_Y(target, value) target = (value) * (task.context->threads > 1 ? 1.0000002f : 1.0f)
