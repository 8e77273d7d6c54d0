// swiglu: GB/s and share of the copy bandwidth measured beside it, for gate and up of (1024, 4864) and of a cache-sized block.
#include "kernels/benchmark_support.h"
#include "kernels/swiglu/contract.h"

namespace evolora {
namespace {

using namespace benchmark_support;

void BM_SwigluForward(benchmark::State& state) {
  Threads threads(0);
  const std::int64_t count = state.range(0);
  const std::vector<float> gate(static_cast<std::size_t>(count), 0.5f);
  const std::vector<float> up(gate);
  std::vector<float> act(gate);
  KernelContext context{threads};
  const double bytes = 3.0 * sizeof(float) * static_cast<double>(count);
  report_share(
      state, threads, bytes, "GB/s",
      [&] {
        cpu::swiglu_forward({gate.data(), up.data(), count, act.data()}, context);
      },
      [&] { return copy_limit(threads, bytes); });
}

void BM_SwigluBackward(benchmark::State& state) {
  Threads threads(0);
  const std::int64_t count = state.range(0);
  std::vector<float> gate(static_cast<std::size_t>(count), 0.5f);
  std::vector<float> up(gate);
  const std::vector<float> d_act(static_cast<std::size_t>(count), 1e-3f);
  std::vector<float> d_gate(gate);
  std::vector<float> d_up(gate);
  KernelContext context{threads};
  const double bytes = 5.0 * sizeof(float) * static_cast<double>(count);
  report_share(
      state, threads, bytes, "GB/s",
      [&] {
        cpu::swiglu_backward({d_act.data(), gate.data(), up.data(), count, d_gate.data(), d_up.data()}, context);
      },
      [&] { return copy_limit(threads, bytes); });
}

BENCHMARK(BM_SwigluForward)->Arg(128 * 1024)->Arg(1024 * 4864)->MinTime(0.1);
BENCHMARK(BM_SwigluBackward)->Arg(128 * 1024)->Arg(1024 * 4864)->MinTime(0.1);

}  // namespace
}  // namespace evolora
