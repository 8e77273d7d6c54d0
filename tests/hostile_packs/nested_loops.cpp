// expect: timeout|crash|harmless|numerics
// without rules: timeout|crash|harmless|numerics
// For_each inside for_each, which the interface forbids.
// clang-format off
#include "evolora_pack.h"
#include <cstring>
struct Nest { evolora_context* context; };
static void inner(void*, size_t, int) {}
static void outer(void* arg, size_t, int) { Nest* nest = static_cast<Nest*>(arg); nest->context->for_each(nest->context->pool, 8, inner, nullptr); }
#define BEFORE_FORWARD(args, context) { Nest nest = {context}; context->for_each(context->pool, 8, outer, &nest); }
