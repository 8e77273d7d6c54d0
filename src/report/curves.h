// Curves of trials (losses, memory) out of their records, and many of them as one band.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "measure/trial.h"

namespace evolora {

struct CurvePoint {
  double x = 0;
  double y = 0;
};
using Curve = std::vector<CurvePoint>;

// The curve that a record's notes hold under this name ("train_losses", "val_losses", "memory"); empty if they do not, as in records of other
// programs. kBadData naming source, trial and field when it is there and is not a list of pairs of finite numbers.
Result<Curve> curve_of(const TrialRecord& record, const std::string& name, const std::string& source);

struct BandPoint {
  double x = 0;
  double mean = 0;
  double low = 0;  // lowest and highest curve
  double high = 0;
  std::size_t n = 0;  // curves that have this x
};
// One point for every x that a curve has, in order; each from the curves that have it.
std::vector<BandPoint> band_of(std::span<const Curve> curves);

}  // namespace evolora
