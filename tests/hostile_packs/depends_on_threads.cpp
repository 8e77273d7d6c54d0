// expect: numerics|determinism
// without rules: numerics|determinism
// Another result for another number of threads.
#include "evolora_pack.h"
#include <string.h>
#define STORE_Y(target, value) target = (value) * (task.context->threads > 1 ? 1.0000002f : 1.0f)
