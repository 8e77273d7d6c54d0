// storage, plainly: the scalar conversions.
#include "base/dtype.h"
#include "kernels/storage/contract.h"

namespace evolora::reference {

void narrow(const Narrow& args, KernelContext&) {
  for (std::int64_t i = 0; i < args.count; ++i) args.out[i] = f32_to_bf16(args.x[i]);
}

void widen(const Widen& args, KernelContext&) {
  for (std::int64_t i = 0; i < args.count; ++i) args.out[i] = bf16_to_f32(args.x[i]);
}

}  // namespace evolora::reference
