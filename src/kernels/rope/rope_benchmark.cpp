// rope: GB/s (q and k read and written) and share of the copy bandwidth measured beside it, for 1024 rows of Qwen2.5-0.5B's heads.
#include <cmath>

#include "kernels/benchmark_support.h"
#include "kernels/rope/contract.h"

namespace evolora {
namespace {

using namespace benchmark_support;

void BM_Rope(benchmark::State& state) {
  constexpr std::int64_t kRows = 1024;
  Threads threads(0);
  std::vector<float> q(kRows * 14 * 64, 0.5f);
  std::vector<float> k(kRows * 2 * 64, 0.5f);
  std::vector<std::int32_t> positions(kRows);
  for (std::size_t n = 0; n < positions.size(); ++n) positions[n] = static_cast<std::int32_t>(n);
  std::vector<float> frequencies(32);
  for (std::size_t i = 0; i < frequencies.size(); ++i) frequencies[i] = std::pow(1e6f, -static_cast<float>(i) / 32.0f);
  const Rope args{q.data(), k.data(), kRows, 14, 2, 64, positions.data(), frequencies.data(), false, 1};
  Workspace workspace(threads, cpu::rope_workspace_bytes(args, threads.count()));
  const double bytes = 2.0 * sizeof(float) * static_cast<double>(q.size() + k.size());
  report_share(
      state, threads, bytes, "GB/s", [&] { cpu::rope(args, workspace.context); }, [&] { return copy_limit(threads, bytes); });
}

BENCHMARK(BM_Rope)->MinTime(0.1);

}  // namespace
}  // namespace evolora
