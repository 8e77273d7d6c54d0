// attention at the shapes of SmolLM2-135M (9 query heads, 3 kv heads) and Qwen2.5-0.5B (14, 2), 64 channels: GFLOP/s of the operations that a causal
// mask (and a window) leaves necessary, and their share of the FMA peak measured beside it.
#include <algorithm>
#include <vector>

#include "kernels/attention/contract.h"
#include "kernels/benchmark_support.h"

namespace evolora {
namespace {

using namespace benchmark_support;

constexpr std::int64_t kHeadDim = 64;

struct Arrays {
  Arrays(std::int64_t query_heads, std::int64_t length, std::int64_t window_keys)
      : heads(query_heads),
        kv_heads(query_heads == 9 ? 3 : 2),
        window(window_keys),
        segment{0, length, 0, length},
        q(static_cast<std::size_t>(length * heads * kHeadDim), 0.1f),
        k(static_cast<std::size_t>(length * kv_heads * kHeadDim), 0.2f),
        v(k),
        out(q),
        lse(static_cast<std::size_t>(length * heads)),
        dout(q),
        dq(q),
        dk(k),
        dv(k) {
    for (std::size_t i = 0; i < q.size(); ++i) q[i] = static_cast<float>(i * 7919 % 1000) * 1e-3f - 0.5f;
    for (std::size_t i = 0; i < k.size(); ++i) k[i] = static_cast<float>(i * 104729 % 1000) * 1e-3f - 0.5f;
  }
  AttentionForward forward() {
    return {q.data(), k.data(), v.data(), {&segment, 1}, heads, kv_heads, kHeadDim, window, 0.125f, out.data(), lse.data()};
  }
  AttentionBackward backward() {
    return {q.data(), k.data(), v.data(), out.data(), lse.data(), dout.data(), {&segment, 1}, segment.q_length,
            heads,    kv_heads, kHeadDim, window,     0.125f,     dq.data(),   dk.data(),     dv.data()};
  }
  // Products per (query, visible key): 2 forward, 5 backward, each 2 C operations.
  double operations(int products) const {
    const auto n = static_cast<double>(segment.q_length);
    const double ramp = window == 0 ? n : static_cast<double>(std::min(window, segment.q_length));
    const double pairs = ramp * (ramp + 1) / 2 + (n - ramp) * static_cast<double>(window);
    return pairs * static_cast<double>(heads) * 2 * kHeadDim * products;
  }
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t window;
  AttentionSegment segment;
  std::vector<float> q, k, v, out, lse, dout, dq, dk, dv;
};

void BM_AttentionForward(benchmark::State& state) {
  Threads threads(static_cast<int>(state.range(3)));
  Arrays arrays(state.range(0), state.range(1), state.range(2));
  const AttentionForward args = arrays.forward();
  Workspace workspace(threads, cpu::attention_forward_workspace_bytes(args, threads.count()));
  report_share(
      state, threads, arrays.operations(2), "GFLOP/s", [&] { cpu::attention_forward(args, workspace.context); }, [&] { return fma_limit(threads); });
}

void BM_AttentionBackward(benchmark::State& state) {
  Threads threads(static_cast<int>(state.range(3)));
  Arrays arrays(state.range(0), state.range(1), state.range(2));
  const AttentionForward forward = arrays.forward();
  const AttentionBackward args = arrays.backward();
  Workspace workspace(threads, std::max(cpu::attention_forward_workspace_bytes(forward, threads.count()),
                                        cpu::attention_backward_workspace_bytes(args, threads.count())));
  cpu::attention_forward(forward, workspace.context);
  report_share(
      state, threads, arrays.operations(5), "GFLOP/s", [&] { cpu::attention_backward(args, workspace.context); }, [&] { return fma_limit(threads); });
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"heads", "length", "window", "threads"})->MinTime(0.3);
  bench->ArgsProduct({{9, 14}, {256, 512, 2048, 8192}, {0}, {1, 2}});
  bench->ArgsProduct({{14}, {8192}, {512}, {1, 2}});
}
BENCHMARK(BM_AttentionForward)->Apply(shapes);
BENCHMARK(BM_AttentionBackward)->Apply(shapes);

// One new token over a long cache: bound by reading k and v.
void BM_AttentionDecode(benchmark::State& state) {
  Threads threads(static_cast<int>(state.range(3)));
  Arrays arrays(state.range(0), state.range(1), state.range(2));
  AttentionForward args = arrays.forward();
  AttentionSegment segment{0, 1, 0, state.range(1)};
  args.segments = {&segment, 1};
  Workspace workspace(threads, cpu::attention_forward_workspace_bytes(args, threads.count()));
  const double bytes = 2.0 * sizeof(float) * static_cast<double>(state.range(1) * arrays.kv_heads * kHeadDim);
  report_share(
      state, threads, bytes, "GB/s", [&] { cpu::attention_forward(args, workspace.context); }, [&] { return copy_limit(threads, bytes); });
}
BENCHMARK(BM_AttentionDecode)->ArgNames({"heads", "length", "window", "threads"})->ArgsProduct({{14}, {4096}, {0}, {1, 2}})->MinTime(0.1);

}  // namespace
}  // namespace evolora
