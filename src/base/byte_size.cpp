// from_chars for the number, a table for the unit.
#include "base/byte_size.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <string>

namespace evolora {

Result<std::size_t> parse_byte_size(std::string_view text) {
  const Error error{ErrorCode::kUsage, fmt::format("expected a size such as 600MB or 1.5GB, got '{}'", text)};
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || !std::isfinite(value) || value < 0) return error;
  std::string unit;
  for (const char* c = end; c != text.data() + text.size(); ++c) {
    if (*c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*c)));
  }
  struct Unit {
    const char* name;
    double bytes;
  };
  static constexpr Unit kUnits[] = {{"", 1},    {"b", 1},   {"kb", 1e3},     {"mb", 1e6},        {"gb", 1e9},          {"k", 1e3},
                                    {"m", 1e6}, {"g", 1e9}, {"kib", 1024.0}, {"mib", 1048576.0}, {"gib", 1073741824.0}};
  const auto* found = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == unit; });
  if (found == std::end(kUnits) || value * found->bytes > 1e18) return error;
  return static_cast<std::size_t>(value * found->bytes);
}

}  // namespace evolora
