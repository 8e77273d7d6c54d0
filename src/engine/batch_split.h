// Cuts a batch into micro-batches: whole segments, at most so many tokens each. Exact: the loss is a sum over rows, so gradients add up.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"

namespace evolora {

// max_tokens <= 0: one piece. A segment longer than max_tokens is a piece of its own. Pieces without supervised rows are left out.
std::vector<Batch> split_batch(const Batch& batch, std::int64_t max_tokens);

}  // namespace evolora
