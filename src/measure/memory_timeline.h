// Resident memory of a process over time, in a bounded number of points however long it runs.
#pragma once

#include <cstddef>
#include <vector>

namespace evolora {

struct MemoryPoint {
  double seconds = 0;  // since the process was started
  std::size_t rss_bytes = 0;
};

// Readings come in order of time. Each kept point stands for equally many readings and is the highest of them, so a short peak is never lost; when
// there are too many points, neighbours become one.
class MemoryTimeline {
 public:
  // A record holds the points as text, about 20 bytes each; a plot of a report is some hundred pixels wide.
  static constexpr std::size_t kMostPoints = 128;

  void add(double seconds, std::size_t rss_bytes);
  const std::vector<MemoryPoint>& points() const { return points_; }

 private:
  std::vector<MemoryPoint> points_;
  std::size_t readings_per_point_ = 1;
  std::size_t in_last_ = 0;  // readings in the last point
};

}  // namespace evolora
