// The comparison, and when to measure again.
#include "evolve/judge/speed_limit.h"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/lora_linear/fma_peak.h"

namespace evolora {

SpeedLimit::SpeedLimit(int threads) : SpeedLimit([threads] { return best_fma_peak_flops(threads); }) {}

SpeedLimit::SpeedLimit(std::function<double()> measure) : measure_(std::move(measure)), peak_flops_(measure_()) {}

std::optional<std::string> SpeedLimit::too_fast(double seconds, double flops) {
  // Turbo clocks differ between the measurement of the peak and a call; no kernel here reaches 0.95 of it.
  constexpr double kPeakMargin = 1.25;
  constexpr int kMeasurements = 20;  // of 15 ms
  const auto possible = [&] { return seconds >= flops / (kPeakMargin * peak_flops_); };
  for (int i = 0; i < kMeasurements && !possible(); ++i) peak_flops_ = std::max(peak_flops_, measure_());
  if (possible()) return std::nullopt;
  return fmt::format("took {:.3g} ms, and the machine's multiply-adds alone take {:.3g} ms at its peak of {:.0f} Gflop/s", seconds * 1e3,
                     flops / peak_flops_ * 1e3, peak_flops_ / 1e9);
}

}  // namespace evolora
