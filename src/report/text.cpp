// Numbers to text.
#include "report/text.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdint>

namespace evolora {

std::string figure_text(double value) {
  const double size = std::abs(value);
  return size >= 1000 ? fmt::format("{:.0f}", value) : size >= 1 || size == 0 ? fmt::format("{:.4g}", value) : fmt::format("{:.3g}", value);
}

std::string human_bytes(std::size_t bytes) {
  const auto value = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (bytes < 1000000) return fmt::format("{:.0f} kB", value / 1e3);
  if (bytes < 1000000000) return fmt::format("{:.1f} MB", value / 1e6);
  return fmt::format("{:.2f} GB", value / 1e9);
}

std::string human_count(std::size_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t place = digits.size(); place > 3;) {
    place -= 3;
    digits.insert(place, ",");
  }
  return digits;
}

std::string human_duration(double seconds) {
  constexpr double kMost = 1e15;  // a file may claim anything; this still fits into a whole number
  if (!std::isfinite(seconds) || seconds < 0 || seconds > kMost) return "-";
  const auto whole = static_cast<std::int64_t>(std::llround(seconds));
  if (whole >= 3600) return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
  return fmt::format("{}:{:02}", whole / 60, whole % 60);
}

std::string human_parameters(std::size_t count) {
  const auto value = static_cast<double>(count);
  if (count < 1000000) return human_count(count);
  if (count < 1000000000) return fmt::format("{:.2f} M", value / 1e6);
  return fmt::format("{:.2f} B", value / 1e9);
}

}  // namespace evolora
