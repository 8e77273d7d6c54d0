// Every index once, workers distinct while they run, one thread works without a pool.
#include "base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace evolora {
namespace {

TEST(Threads, EachIndexRunsOnceOnAWorkerOfItsOwn) {
  for (const int count : {1, 2, 3, 8}) {
    Threads threads(count);
    ASSERT_EQ(threads.count(), count);
    for (const std::size_t n : {0u, 1u, 2u, 7u, 1000u}) {
      std::vector<std::atomic<int>> runs(n);
      std::vector<std::atomic<int>> busy(static_cast<std::size_t>(count));
      std::atomic<int> clashes{0};
      threads.for_each(n, [&](std::size_t i, int worker) {
        ASSERT_GE(worker, 0);
        ASSERT_LT(worker, count);
        auto& mine = busy[static_cast<std::size_t>(worker)];
        if (mine.fetch_add(1) != 0) clashes.fetch_add(1);
        runs[i].fetch_add(1);
        mine.fetch_sub(1);
      });
      for (const auto& r : runs) EXPECT_EQ(r.load(), 1);
      EXPECT_EQ(clashes.load(), 0);
    }
  }
}

TEST(Threads, DefaultIsWhatTheProcessMayUse) {
  EXPECT_GE(available_cpus(), 1);
  EXPECT_EQ(Threads(0).count(), available_cpus());
  EXPECT_EQ(Threads(-1).count(), available_cpus());
}

}  // namespace
}  // namespace evolora
