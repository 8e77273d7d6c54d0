// attention at the shape of Qwen2.5-0.5B (14 query heads, 2 kv heads, 64 channels): GFLOP/s and share of the FMA peak measured beside it.
#include <vector>

#include "kernels/attention/contract.h"
#include "kernels/benchmark_support.h"

namespace evolora {
namespace {

using namespace benchmark_support;

constexpr std::int64_t kHeads = 14;
constexpr std::int64_t kKvHeads = 2;
constexpr std::int64_t kHeadDim = 64;

struct Arrays {
  explicit Arrays(std::int64_t length)
      : segment{0, length, 0, length},
        q(static_cast<std::size_t>(length * kHeads * kHeadDim), 0.1f),
        k(static_cast<std::size_t>(length * kKvHeads * kHeadDim), 0.2f),
        v(k),
        out(q),
        lse(static_cast<std::size_t>(length * kHeads)),
        dout(q),
        dq(q),
        dk(k),
        dv(k) {
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 7919 % 1000) * 1e-3f - 0.5f;
    for (std::size_t i = 0; i < k.size(); ++i) k[i] = static_cast<float>(i * 104729 % 1000) * 1e-3f - 0.5f;
  }
  AttentionForward forward() { return {q.data(), k.data(), v.data(), {&segment, 1}, kHeads, kKvHeads, kHeadDim, 0.125f, out.data(), lse.data()}; }
  AttentionBackward backward() {
    return {q.data(), k.data(), v.data(), out.data(), lse.data(), dout.data(), {&segment, 1}, segment.q_length,
            kHeads,   kKvHeads, kHeadDim, 0.125f,     dq.data(),  dk.data(),   dv.data()};
  }
  // Products per (query, visible key): 2 forward, 5 backward, each 2 C operations.
  double operations(int products) const {
    const auto n = static_cast<double>(segment.q_length);
    return n * (n + 1) / 2 * kHeads * 2 * kHeadDim * products;
  }
  AttentionSegment segment;
  std::vector<float> q, k, v, out, lse, dout, dq, dk, dv;
};

void BM_AttentionForward(benchmark::State& state) {
  Threads threads(static_cast<int>(state.range(1)));
  Arrays arrays(state.range(0));
  const AttentionForward args = arrays.forward();
  Workspace workspace(threads, cpu::attention_forward_workspace_bytes(args, threads.count()));
  report_share(
      state, threads, arrays.operations(2), "GFLOP/s", [&] { cpu::attention_forward(args, workspace.context); }, [&] { return fma_limit(threads); });
}

void BM_AttentionBackward(benchmark::State& state) {
  Threads threads(static_cast<int>(state.range(1)));
  Arrays arrays(state.range(0));
  const AttentionForward forward = arrays.forward();
  const AttentionBackward args = arrays.backward();
  Workspace workspace(threads, std::max(cpu::attention_forward_workspace_bytes(forward, threads.count()),
                                        cpu::attention_backward_workspace_bytes(args, threads.count())));
  cpu::attention_forward(forward, workspace.context);
  report_share(
      state, threads, arrays.operations(5), "GFLOP/s", [&] { cpu::attention_backward(args, workspace.context); }, [&] { return fma_limit(threads); });
}

BENCHMARK(BM_AttentionForward)->ArgNames({"length", "threads"})->ArgsProduct({{512, 2048}, {1, 2}})->MinTime(0.3);
BENCHMARK(BM_AttentionBackward)->ArgNames({"length", "threads"})->ArgsProduct({{512, 2048}, {1, 2}})->MinTime(0.3);

// One new token over a long cache: bound by reading k and v.
void BM_AttentionDecode(benchmark::State& state) {
  Threads threads(static_cast<int>(state.range(1)));
  Arrays arrays(state.range(0));
  AttentionForward args = arrays.forward();
  AttentionSegment segment{0, 1, 0, state.range(0)};
  args.segments = {&segment, 1};
  Workspace workspace(threads, cpu::attention_forward_workspace_bytes(args, threads.count()));
  const double bytes = 2.0 * sizeof(float) * static_cast<double>(state.range(0) * kKvHeads * kHeadDim);
  report_share(
      state, threads, bytes, "GB/s", [&] { cpu::attention_forward(args, workspace.context); }, [&] { return copy_limit(threads, bytes); });
}
BENCHMARK(BM_AttentionDecode)->ArgNames({"length", "threads"})->ArgsProduct({{4096}, {1, 2}})->MinTime(0.1);

}  // namespace
}  // namespace evolora
