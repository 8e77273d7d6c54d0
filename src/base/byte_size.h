// Sizes as people write them: "600MB", "1.5 GB", "512MiB".
#pragma once

#include <cstddef>
#include <string_view>

#include "base/result.h"

namespace evolora {

inline constexpr double kMegabyte = 1e6;  // bytes

// A number and a unit: B, kB, MB, GB (powers of 1000) or KiB, MiB, GiB (of 1024), in any case; a plain number is bytes.
// kUsage: "expected a size such as 600MB or 1.5GB, got TEXT".
Result<std::size_t> parse_byte_size(std::string_view text);

}  // namespace evolora
