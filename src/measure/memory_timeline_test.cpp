// The timeline against a plain scan of all readings: bounded, in order, the highest reading kept at its time.
#include "measure/memory_timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace evolora {
namespace {

TEST(MemoryTimeline, KeepsEveryReadingWhileThereAreFew) {
  MemoryTimeline timeline;
  EXPECT_TRUE(timeline.points().empty());
  for (std::size_t i = 0; i < MemoryTimeline::kMostPoints; ++i) timeline.add(0.05 * static_cast<double>(i), 1000 + i);
  ASSERT_EQ(timeline.points().size(), MemoryTimeline::kMostPoints);
  for (std::size_t i = 0; i < MemoryTimeline::kMostPoints; ++i) EXPECT_EQ(timeline.points()[i].rss_bytes, 1000 + i);
}

TEST(MemoryTimeline, EveryPointIsTheHighestOfItsReadings) {
  std::mt19937_64 random(7);
  for (const std::size_t count : {127UL, 128UL, 129UL, 255UL, 256UL, 257UL, 1000UL, 5000UL, 100003UL}) {
    MemoryTimeline timeline;
    std::vector<std::size_t> readings;
    for (std::size_t i = 0; i < count; ++i) {
      readings.push_back(random() % 1000000);
      timeline.add(static_cast<double>(i), readings.back());
    }
    // The reference: the smallest power of two of readings a point that needs at most kMostPoints of them.
    std::size_t each = 1;
    while ((count + each - 1) / each > MemoryTimeline::kMostPoints) each *= 2;
    ASSERT_EQ(timeline.points().size(), (count + each - 1) / each) << count;
    for (std::size_t p = 0; p < timeline.points().size(); ++p) {
      const auto first = readings.begin() + static_cast<std::ptrdiff_t>(p * each);
      const auto last = readings.begin() + static_cast<std::ptrdiff_t>(std::min(count, (p + 1) * each));
      const auto highest = std::max_element(first, last);
      EXPECT_EQ(timeline.points()[p].rss_bytes, *highest) << count << " point " << p;
      EXPECT_EQ(timeline.points()[p].seconds, static_cast<double>(highest - readings.begin())) << count << " point " << p;
    }
  }
}

}  // namespace
}  // namespace evolora
