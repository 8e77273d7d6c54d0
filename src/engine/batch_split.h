// Cuts a batch into micro-batches: whole segments, at most so many tokens each. Exact: the loss is a sum over rows, so gradients add up. And keeps
// once what all segments of a piece begin with, such as a system prompt: in a causal model its rows are the same in every segment, and what the
// segments send back to them adds up (as prefixes in serving, Hydragen, Juravsky et al. 2024, arXiv 2402.05099, here with a backward pass).
#pragma once

#include <cstdint>
#include <vector>

#include "data/batch.h"

namespace evolora {

// As few pieces as three ways of filling them find (in the batch's order, by best fit, evenly); of ways with equally few the one whose largest piece
// is smallest, because that piece decides the memory; in the batch's order if that is no worse. The same batch is always cut the same way. max_tokens
// <= 0: one piece. A segment longer than max_tokens is a piece of its own. Pieces without supervised rows are left out. share_prefix: pieces get
// shared_tokens where at least kLeastShared tokens can be; the batch has none itself.
std::vector<Batch> split_batch(const Batch& batch, std::int64_t max_tokens, bool share_prefix = false);

// The shared_tokens of a batch that is not cut.
std::int32_t common_prefix(const Batch& batch);

// Fewer are not worth copying keys and values for.
inline constexpr std::int64_t kLeastShared = 8;

}  // namespace evolora
