// Independent chains of multiply-adds on registers, on every thread at once.
#include <time.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <vector>

#include "base/threads.h"
#include "kernels/lora_linear/fma_peak.h"
#include "kernels/lora_linear/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/lora_linear/fma_peak.cpp"
#include <hwy/foreach_target.h>

#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace evolora::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// 12 chains cover latency 4 to 6 on two pipes and fit 16 registers. Returns the floating point operations done.
double multiply_add(std::int64_t rounds, float* sink) {
  constexpr int kChains = 12;
  const hn::ScalableTag<float> d;
  hn::Vec<hn::ScalableTag<float>> sums[kChains];
  const auto x = hn::Set(d, sink[0]);
  const auto y = hn::Set(d, sink[1]);
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sums[i] = hn::Set(d, sink[2] + static_cast<float>(i));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) sums[i] = hn::MulAdd(x, sums[i], y);
  }
  auto total = sums[0];
  for (int i = 1; i < kChains; ++i) total = hn::Add(total, sums[i]);
  sink[2] = hn::GetLane(total);
  return 2.0 * kChains * static_cast<double>(hn::Lanes(d)) * static_cast<double>(rounds);
}

}  // namespace evolora::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace evolora {

HWY_EXPORT(multiply_add);

double process_cpu_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

FmaPeak measure_fma_peak(int threads, double milliseconds) {
  using Clock = std::chrono::steady_clock;
  const auto seconds = [](Clock::time_point since) { return std::chrono::duration<double>(Clock::now() - since).count(); };
  std::vector<std::array<float, 64>> sinks(static_cast<std::size_t>(threads), {0.999f, 0.001f, 1.0f});
  std::vector<double> operations(static_cast<std::size_t>(threads));
  Threads pool(threads);
  const double cpu_start = process_cpu_seconds();
  const auto start = Clock::now();
  // Each index lasts the whole time, so every thread gets one.
  pool.for_each(static_cast<std::size_t>(threads), [&](std::size_t i, int) {
    const auto begin = Clock::now();
    while (seconds(begin) * 1e3 < milliseconds) operations[i] += HWY_DYNAMIC_DISPATCH(multiply_add)(50'000, sinks[i].data());
  });
  const double elapsed = seconds(start);
  const double cpu = process_cpu_seconds() - cpu_start;
  double total = 0;
  for (const double count : operations) total += count;
  return {total / elapsed * 1e-9, total / cpu * threads * 1e-9};
}

double best_fma_peak_flops(int threads) {
  constexpr int kMeasurements = 5;
  constexpr double kMilliseconds = 3;
  double best = 0;
  for (int i = 0; i < kMeasurements; ++i) best = std::max(best, measure_fma_peak(threads, kMilliseconds).gflops);
  return 1e9 * best;
}

}  // namespace evolora
#endif
