// embedding, plainly: each value of each row decoded on its own.
#include "kernels/no_contraction.h"

#include "kernels/embedding/contract.h"
#include "kernels/embedding/decoded_value.h"

namespace evolora::reference {

void embedding_forward(const EmbeddingForward& args, KernelContext&) {
  for (std::int64_t n = 0; n < args.n; ++n) {
    for (std::int64_t d = 0; d < args.table.in; ++d) args.out[n * args.table.in + d] = decoded_value(args.table, args.tokens[n], d);
  }
}

}  // namespace evolora::reference
