// Readings to points.
#include "measure/memory_timeline.h"

namespace evolora {
namespace {

MemoryPoint higher(const MemoryPoint& a, const MemoryPoint& b) { return b.rss_bytes > a.rss_bytes ? b : a; }

}  // namespace

void MemoryTimeline::add(double seconds, std::size_t rss_bytes) {
  const MemoryPoint reading{seconds, rss_bytes};
  if (!points_.empty() && in_last_ < readings_per_point_) {
    points_.back() = higher(points_.back(), reading);
    ++in_last_;
    return;
  }
  if (points_.size() == kMostPoints) {
    for (std::size_t i = 0; i < kMostPoints / 2; ++i) points_[i] = higher(points_[2 * i], points_[2 * i + 1]);
    points_.resize(kMostPoints / 2);
    readings_per_point_ *= 2;
  }
  points_.push_back(reading);
  in_last_ = 1;
}

}  // namespace evolora
