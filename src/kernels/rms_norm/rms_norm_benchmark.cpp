// rms_norm: GB/s and share of the copy bandwidth measured beside it, for 1024 rows of Qwen2.5-0.5B's width.
#include "kernels/benchmark_support.h"
#include "kernels/rms_norm/contract.h"

namespace evolora {
namespace {

using namespace benchmark_support;

constexpr std::int64_t kRows = 1024;
constexpr std::int64_t kWidth = 896;
constexpr double kArrayBytes = sizeof(float) * static_cast<double>(kRows * kWidth);

void BM_RmsNormForward(benchmark::State& state) {
  Threads threads(0);
  const std::vector<float> x(kRows * kWidth, 0.5f);
  const std::vector<float> residual(x);
  const std::vector<float> weight(kWidth, 1.0f);
  std::vector<float> sum(x);
  std::vector<float> y(x);
  KernelContext context{threads};
  report_share(
      state, threads, 4 * kArrayBytes, "GB/s",
      [&] {
        cpu::rms_norm_forward({x.data(), residual.data(), weight.data(), 1e-6f, kRows, kWidth, sum.data(), y.data()}, context);
      },
      [&] { return copy_limit(threads, 4 * kArrayBytes); });
}

void BM_RmsNormBackward(benchmark::State& state) {
  Threads threads(0);
  const std::vector<float> dy(kRows * kWidth, 0.5f);
  const std::vector<float> x(dy);
  const std::vector<float> add(dy);
  const std::vector<float> weight(kWidth, 1.0f);
  std::vector<float> dx(dy);
  KernelContext context{threads};
  report_share(
      state, threads, 4 * kArrayBytes, "GB/s",
      [&] {
        cpu::rms_norm_backward({dy.data(), x.data(), weight.data(), 1e-6f, kRows, kWidth, add.data(), dx.data()}, context);
      },
      [&] { return copy_limit(threads, 4 * kArrayBytes); });
}

BENCHMARK(BM_RmsNormForward)->MinTime(0.1);
BENCHMARK(BM_RmsNormBackward)->MinTime(0.1);

}  // namespace
}  // namespace evolora
