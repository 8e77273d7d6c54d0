// adam_update: GB/s (4 arrays read, 3 written) and share of the copy bandwidth measured beside it, for 4 million adapter parameters.
#include "kernels/benchmark_support.h"
#include "kernels/optimizer_update/contract.h"

namespace evolora {
namespace {

using namespace benchmark_support;

void BM_AdamUpdate(benchmark::State& state) {
  Threads threads(0);
  const std::int64_t count = state.range(0);
  std::vector<float> parameters(static_cast<std::size_t>(count), 0.5f);
  const std::vector<float> gradients(parameters);
  std::vector<float> m(parameters);
  std::vector<float> v(parameters);
  const AdamUpdate args{parameters.data(), gradients.data(), m.data(), v.data(), count, 1.0f, 1e-5f, 0.9, 0.999, 1e-8f, 0.01f, true, 3};
  KernelContext context{threads};
  const double bytes = 7.0 * sizeof(float) * static_cast<double>(count);
  report_share(
      state, threads, bytes, "GB/s", [&] { cpu::adam_update(args, context); }, [&] { return copy_limit(threads, bytes); });
}

BENCHMARK(BM_AdamUpdate)->Arg(64 * 1024)->Arg(4 << 20)->MinTime(0.1);

}  // namespace
}  // namespace evolora
