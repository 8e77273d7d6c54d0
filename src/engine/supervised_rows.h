// Behind the last block's attention only supervised rows reach the loss: what is computed there is computed for them alone.
#pragma once

#include <cstdint>

#include "data/batch.h"
#include "kernels/context.h"
#include "model/adapter.h"

namespace evolora {

// Does the last block go on with Batch::loss_rows alone? Where they are few enough to pay for the copies; not with dropout, whose masks are drawn by
// row.
bool picks_supervised_rows(const Batch& batch, const AdapterSet& adapters);

// x (N, width) -> out (M, width): the rows of Batch::loss_rows, in their order.
void pick_supervised_rows(const Batch& batch, std::int64_t width, const float* x, float* out, Threads& threads);

// x (M, width) -> out (N, width): each in its place, zeros everywhere else.
void place_supervised_rows(const Batch& batch, std::int64_t width, const float* x, float* out, Threads& threads);

}  // namespace evolora
