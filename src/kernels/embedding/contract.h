// Slot `embedding`: rows of the (possibly quantized) embedding table, decoded to fp32. Frozen: there is no backward.
#pragma once

#include <cstdint>

#include "kernels/context.h"
#include "model/weight_view.h"

namespace evolora {

// tokens (N) int32 in [0, V), table (V, D) -> out (N, D) fp32
struct EmbeddingForward {
  const std::int32_t* tokens;
  std::int64_t n;
  WeightView table;
  float* out;
};

namespace reference {
void embedding_forward(const EmbeddingForward& args, KernelContext& context);
}
namespace cpu {
void embedding_forward(const EmbeddingForward& args, KernelContext& context);
}

}  // namespace evolora
