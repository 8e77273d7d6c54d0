// Notes to curves, curves to bands.
#include "report/curves.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace evolora {

Result<Curve> curve_of(const TrialRecord& record, const std::string& name, const std::string& source) {
  Curve curve;
  if (!record.notes.is_object() || !record.notes.contains(name)) return curve;
  const auto bad = [&] {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: {} trial {}: notes.{}: expected a list of pairs of finite numbers", source, word(record.role), record.pair, name)};
  };
  const auto& points = record.notes[name];
  if (!points.is_array()) return bad();
  for (const auto& point : points) {
    const bool pair = point.is_array() && point.size() == 2 && point[0].is_number() && point[1].is_number();
    if (!pair || !std::isfinite(point[0].get<double>()) || !std::isfinite(point[1].get<double>())) return bad();
    curve.push_back({point[0].get<double>(), point[1].get<double>()});
  }
  return curve;
}

std::vector<BandPoint> band_of(std::span<const Curve> curves) {
  std::map<double, BandPoint> at;
  for (const Curve& curve : curves) {
    for (const CurvePoint& point : curve) {
      const auto [place, is_new] = at.try_emplace(point.x, BandPoint{point.x, 0, point.y, point.y, 0});
      BandPoint& band = place->second;
      band.low = std::min(band.low, point.y);
      band.high = std::max(band.high, point.y);
      ++band.n;
      band.mean += (point.y - band.mean) / static_cast<double>(band.n);
    }
  }
  std::vector<BandPoint> out;
  out.reserve(at.size());
  for (const auto& [x, band] : at) out.push_back(band);
  return out;
}

}  // namespace evolora
