// The floor under times of every target: a call cannot take less time than the machine's multiply-adds alone.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace evolora {

// Other work on the machine, or on the other half of a processor that shares its units, makes one measurement of the peak too low by half and says
// nothing of the moment in which a call ran. So the peak is measured again, for a few tenths of a second, before a call is said to be impossible, and
// the best of all measurements counts. Not thread-safe.
class SpeedLimit {
 public:
  // Of so many threads. Measures once.
  explicit SpeedLimit(int threads);
  // measure: operations a second, as the machine is now.
  explicit SpeedLimit(std::function<double()> measure);

  double peak_flops() const { return peak_flops_; }
  // Why a call that needs so many operations cannot have taken so few seconds; nothing if it can.
  std::optional<std::string> too_fast(double seconds, double flops);

 private:
  std::function<double()> measure_;
  double peak_flops_;
};

}  // namespace evolora
