// The monotonic clock that durations are measured with. The one place that asks for the time.
#pragma once

#include <chrono>

namespace evolora {

// Seconds since an arbitrary fixed moment.
inline double monotonic_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace evolora
