// Keys and values of a batch whose segments share their first tokens (Batch::shared_tokens), which are there once: laid out so that every segment has
// all of its own, as attention reads them; and their gradients, summed back.
#pragma once

#include <cstdint>

#include "data/batch.h"
#include "kernels/context.h"

namespace evolora {

// x (token_count, width) -> out (key_count, width): segment s begins at key_start(s) with the shared rows.
void repeat_shared_rows(const Batch& batch, std::int64_t width, const float* x, float* out, Threads& threads);

// d_out (key_count, width) -> dx (token_count, width): the shared rows are the sums over segments, in their order whatever the threads.
void sum_shared_rows(const Batch& batch, std::int64_t width, const float* d_out, float* dx, Threads& threads);

}  // namespace evolora
