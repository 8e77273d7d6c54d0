// expect: rules
// without rules: crash|numerics
// Goes on computing after it returned.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
#include <pthread.h>
static void* spin(void* y) { for (;;) *static_cast<volatile float*>(y) = 1; }
#define BEFORE_FORWARD(args, context) { pthread_t thread; pthread_create(&thread, nullptr, spin, args->projections[0].y); }
