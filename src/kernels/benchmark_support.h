// What the kernel benchmarks share: the best rate of a call and its share of a limit of the machine, measured in the same process just before and
// after. Best, not mean: on a shared machine the fastest of many short calls is what the code can do. Each rate is given per wall second and, because
// other work on the machine lowers that, per second of processor time as well (times threads: the rate on a machine of our own).
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/context.h"
#include "kernels/lora_linear/fma_peak.h"

namespace evolora::benchmark_support {

struct Rate {
  double per_wall_s = 0;
  double per_cpu_s = 0;
};

inline Rate best_of(const Rate& a, const Rate& b) { return {std::max(a.per_wall_s, b.per_wall_s), std::max(a.per_cpu_s, b.per_cpu_s)}; }

// The rate of one call of body that does `work` units.
template <typename Body>
Rate rate_of(double work, int threads, const Body& body) {
  const double cpu_start = process_cpu_seconds();
  const auto start = std::chrono::steady_clock::now();
  body();
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double cpu = process_cpu_seconds() - cpu_start;
  return {work / wall, cpu > 0 ? work * threads / cpu : 0};
}

inline Rate fma_limit(Threads& threads) {
  const FmaPeak peak = measure_fma_peak(threads.count(), 5.0);
  return {peak.gflops * 1e9, peak.gflops_per_cpu * 1e9};
}

// Copying between two arrays of together `bytes`; counts bytes read plus bytes written.
inline Rate copy_limit(Threads& threads, double bytes) {
  constexpr std::size_t kBlock = 16384;
  const std::size_t blocks = std::max<std::size_t>(static_cast<std::size_t>(bytes / 2 / sizeof(float)) / kBlock, 1);
  std::vector<float> from(blocks * kBlock, 1.0f);
  std::vector<float> to(blocks * kBlock);
  Rate best;
  for (int repeat = 0; repeat < 20; ++repeat) {
    best = best_of(best, rate_of(2.0 * sizeof(float) * static_cast<double>(blocks * kBlock), threads.count(), [&] {
                     threads.for_each(blocks, [&](std::size_t b, int) { std::copy_n(from.data() + b * kBlock, kBlock, to.data() + b * kBlock); });
                   }));
    benchmark::DoNotOptimize(to.data());
  }
  return best;
}

// unit: "GFLOP/s" or "GB/s"; work in FLOP or bytes per call.
template <typename Body, typename Limit>
void report_share(benchmark::State& state, Threads& threads, double work, const char* unit, const Body& body, const Limit& limit) {
  body();
  Rate peak = limit();
  Rate best;
  for (auto _ : state) best = best_of(best, rate_of(work, threads.count(), body));
  peak = best_of(peak, limit());
  state.counters[unit] = best.per_wall_s * 1e-9;
  state.counters["share"] = best.per_wall_s / peak.per_wall_s;
  state.counters["share_per_cpu"] = best.per_cpu_s / peak.per_cpu_s;
}

// A context with an aligned workspace.
struct Workspace {
  Workspace(Threads& threads, std::size_t bytes) : storage(bytes + 64), context{threads, storage.data(), bytes} {
    context.workspace += (64 - reinterpret_cast<std::uintptr_t>(storage.data()) % 64) % 64;
  }
  std::vector<std::byte> storage;
  KernelContext context;
};

}  // namespace evolora::benchmark_support
