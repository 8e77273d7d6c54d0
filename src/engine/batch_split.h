// Cuts a batch into micro-batches: whole segments, at most so many tokens each. Exact: the loss is a sum over rows, so gradients add up.
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"

namespace evolora {

// As few pieces as three ways of filling them find (in the batch's order, by best fit, evenly); of ways with equally few the one whose largest piece
// is smallest, because that piece decides the memory; in the batch's order if that is no worse. The same batch is always cut the same way. max_tokens
// <= 0: one piece. A segment longer than max_tokens is a piece of its own. Pieces without supervised rows are left out.
std::vector<Batch> split_batch(const Batch& batch, std::int64_t max_tokens);

}  // namespace evolora
