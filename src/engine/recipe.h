// A recipe: the decisions that change speed or memory and not the result (DESIGN section 4). Later a JSON file; the fields are the contract.
#pragma once

#include <cstdint>

namespace evolora {

enum class KernelSet { kReference, kCpu };

struct Recipe {
  int threads = 0;                       // <= 0: all CPUs the process may use
  bool grad_checkpoint = false;          // save only each layer's input, recompute the rest in the backward pass
  std::int64_t head_rows_per_chunk = 0;  // rows of logits alive at a time; <= 0: chosen from the vocabulary size
  std::int64_t micro_batch_tokens = 0;   // split a batch into passes of at most this many tokens (whole segments); <= 0: no split
  KernelSet kernels = KernelSet::kCpu;
};

}  // namespace evolora
