// Figures of curves over steps or time, with their tables.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "report/curves.h"
#include "report/page.h"

namespace evolora {

struct BandSeries {
  std::string role;  // "baseline", "candidate": decides the colour
  std::string name;  // for the legend
  std::vector<BandPoint> points;
};
// y over x, one line with a band for each. Of long curves the table shows evenly chosen points and says so.
Figure band_figure(const std::string& y, const std::string& x, std::span<const BandSeries> series);

struct LineSeries {
  std::string role;
  std::string name;
  Curve points;
};
// A horizontal line with a name, such as a limit.
struct Level {
  std::string name;
  double y = 0;
};
// from_zero: the axis begins at 0.
Figure line_figure(const std::string& title, const std::string& y, const std::string& x, std::span<const LineSeries> series,
                   std::span<const Level> levels, bool from_zero);

}  // namespace evolora
