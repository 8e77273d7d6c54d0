// head_loss with gradient for 256 supervised rows of SmolLM2-135M's head (49152 x 576, 4 bits, group 32): GFLOP/s of its two products and share of
// the FMA peak.
#include "kernels/benchmark_support.h"
#include "kernels/head_loss/contract.h"

namespace evolora {
namespace {

using namespace benchmark_support;

void BM_HeadLoss(benchmark::State& state) {
  constexpr std::int64_t kRows = 256;
  constexpr std::int64_t kWidth = 576;
  constexpr std::int64_t kVocabulary = 49152;
  Threads threads(0);
  std::vector<std::byte> data(kVocabulary * kWidth / 2);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 2654435761u >> 24);
  std::vector<std::byte> scales(kVocabulary * kWidth / 32 * 2);
  std::vector<std::byte> biases(scales.size());
  for (std::size_t i = 0; i < scales.size() / 2; ++i) {
    store_float(DType::kF16, scales.data(), i, 0.01f);
    store_float(DType::kF16, biases.data(), i, -0.08f);
  }
  std::vector<float> hidden(kRows * kWidth);
  for (std::size_t i = 0; i < hidden.size(); ++i) hidden[i] = static_cast<float>(i * 7919 % 1000) * 1e-3f - 0.5f;
  const std::vector<float> norm(kWidth, 1.0f);
  std::vector<std::int32_t> rows(kRows);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i);
  const std::vector<std::int32_t> targets(rows);
  std::vector<float> d_hidden(hidden);
  double loss = 0;
  const HeadLoss args{hidden.data(), kRows,          kWidth,
                      norm.data(),   1e-5f,          {kVocabulary, kWidth, 4, 32, DType::kF16, data.data(), scales.data(), biases.data()},
                      rows.data(),   targets.data(), kRows,
                      1.0f,          state.range(0), d_hidden.data(),
                      nullptr,       &loss};
  Workspace workspace(threads, cpu::head_loss_workspace_bytes(args, threads.count()));
  report_share(
      state, threads, 4.0 * static_cast<double>(kRows * kWidth) * kVocabulary, "GFLOP/s", [&] { cpu::head_loss(args, workspace.context); },
      [&] { return fma_limit(threads); });
}

BENCHMARK(BM_HeadLoss)->ArgName("chunk_rows")->Arg(64)->Arg(256)->MinTime(0.3);

}  // namespace
}  // namespace evolora
