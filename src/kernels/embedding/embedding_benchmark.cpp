// embedding: GB/s (table bytes read and fp32 written) and share of the copy bandwidth measured beside it.
#include "kernels/benchmark_support.h"
#include "kernels/embedding/contract.h"

namespace evolora {
namespace {

using namespace benchmark_support;

// range(0): 0 for dense bf16, else bits with group 64.
void BM_Embedding(benchmark::State& state) {
  constexpr std::int64_t kRows = 1024;
  constexpr std::int64_t kVocabulary = 50000;
  constexpr std::int64_t kWidth = 896;
  const int bits = static_cast<int>(state.range(0));
  Threads threads(0);
  const std::size_t row_bytes = static_cast<std::size_t>(kWidth) * static_cast<std::size_t>(bits == 0 ? 16 : bits) / 8;
  const std::vector<std::byte> data(kVocabulary * row_bytes);
  const std::vector<std::byte> scales(kVocabulary * kWidth / 64 * 2);
  const WeightView table{kVocabulary, kWidth, bits, bits == 0 ? 0 : 64, DType::kBF16, data.data(), scales.data(), scales.data()};
  std::vector<std::int32_t> tokens(kRows);
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<std::int32_t>(i * 7919 % kVocabulary);
  std::vector<float> out(kRows * kWidth);
  KernelContext context{threads};
  const double bytes = static_cast<double>(kRows) * (static_cast<double>(row_bytes) + sizeof(float) * kWidth);
  report_share(
      state, threads, bytes, "GB/s",
      [&] {
        cpu::embedding_forward({tokens.data(), kRows, table, out.data()}, context);
      },
      [&] { return copy_limit(threads, bytes); });
}

BENCHMARK(BM_Embedding)->ArgName("bits")->Arg(0)->Arg(3)->Arg(4)->Arg(5)->Arg(8)->MinTime(0.1);

}  // namespace
}  // namespace evolora
