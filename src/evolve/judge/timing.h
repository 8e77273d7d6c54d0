// What micro-benchmarks of every target say of times.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace evolora {

// Of an odd number of values, or the upper of the two in the middle. At least one.
inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

// Why a call that needs so many operations cannot have taken so few seconds on a machine with this peak (operations a second); nothing if it can.
inline std::optional<std::string> too_fast(double seconds, double flops, double peak_flops) {
  // Turbo clocks differ between the measurement of the peak and a call; no kernel here reaches 0.95 of it.
  constexpr double kPeakMargin = 1.25;
  if (seconds >= flops / (kPeakMargin * peak_flops)) return std::nullopt;
  return fmt::format("took {:.3g} ms, and the machine's multiply-adds alone take {:.3g} ms at its peak of {:.0f} Gflop/s", seconds * 1e3,
                     flops / peak_flops * 1e3, peak_flops / 1e9);
}

}  // namespace evolora
