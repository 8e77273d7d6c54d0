// Measuring a child from outside, on small programs that every system has.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/test_folder.h"
#include "measure/child_process.h"

namespace evolora {
namespace {

class ChildProcess : public testing::Test {
 protected:
  ChildRequest request(std::vector<std::string> argv) const {
    return {.argv = std::move(argv), .standard_output = folder_ / "out", .standard_error = folder_ / "err"};
  }
  ChildResult run(const ChildRequest& asked) const {
    const auto result = run_measured(asked);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? *result : ChildResult{};
  }
  std::string text(const char* name) const { return *real_file_system().read(folder_ / name); }
  TestFolder folder_;
};

TEST_F(ChildProcess, OutputAndStatusAndEnvironment) {
  ChildRequest asked = request({"sh", "-c", "echo $EVOLORA_TEST; echo bad >&2; exit 3"});
  asked.environment["EVOLORA_TEST"] = "good";
  const ChildResult result = run(asked);
  EXPECT_EQ(result.exit_status, 3);
  EXPECT_EQ(text("out"), "good\n");
  EXPECT_EQ(text("err"), "bad\n");
}

TEST_F(ChildProcess, WallTimeIsTheParents) {
  const ChildResult result = run(request({"sleep", "0.3"}));
  EXPECT_GE(result.wall_seconds, 0.3);
  EXPECT_LT(result.cpu_seconds, 0.2) << "sleeping takes no processor time";
}

TEST_F(ChildProcess, PeakMemoryIsTheChilds) {
  // dd holds one buffer of bs bytes.
  const ChildResult result = run(request({"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=2"}));
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_GE(result.peak_rss_bytes, 200U << 20);
  EXPECT_LT(result.peak_rss_bytes, 230U << 20);
}

TEST_F(ChildProcess, MemoryIsSeenOverTime) {
  // The same process is small at first, then holds a buffer of 200 MiB for several polls.
  const ChildResult result = run(request({"sh", "-c", "sleep 0.3; exec dd if=/dev/zero of=/dev/null bs=200M count=10"}));
  ASSERT_EQ(result.exit_status, 0);
  ASSERT_GE(result.memory.size(), 3U);
  EXPECT_LT(result.memory.front().rss_bytes, 50U << 20);
  std::size_t highest = 0;
  for (std::size_t i = 0; i < result.memory.size(); ++i) {
    highest = std::max(highest, result.memory[i].rss_bytes);
    EXPECT_LT(result.memory[i].seconds, result.wall_seconds);
    EXPECT_GT(result.memory[i].seconds, i > 0 ? result.memory[i - 1].seconds : 0);
  }
  EXPECT_GE(highest, 200U << 20);
  // The kernel counts per thread in batches of 64 pages: what is read may be that much off.
  EXPECT_LE(highest, result.peak_rss_bytes + (64U << 12));
}

TEST_F(ChildProcess, SmallChildrenDoNotInheritTheParentsPeak) {
  std::vector<char> large(300U << 20, 1);  // now this process is larger than the child will ever be
  const ChildResult result = run(request({"sleep", "0.3"}));
  EXPECT_LT(result.peak_rss_bytes, 50U << 20) << large.size();
}

// As of a training in a sandbox, which is a small process around the one that works.
TEST_F(ChildProcess, AGrandchildsMemoryCountsBelowTheParentsPeak) {
  std::vector<char> large(300U << 20, 1);
  const ChildResult result = run(request({"sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=10; true"}));
  EXPECT_GE(result.peak_rss_bytes, 200U << 20) << large.size();
  EXPECT_LT(result.peak_rss_bytes, 230U << 20);
}

TEST_F(ChildProcess, TimeoutEndsTheWholeGroup) {
  ChildRequest asked = request({"sh", "-c", "sleep 60 & sleep 60"});
  asked.timeout_seconds = 0.2;
  const ChildResult result = run(asked);
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.exit_status, 128 + 15);
  EXPECT_LT(result.wall_seconds, 10);
}

TEST_F(ChildProcess, AChildThatIgnoresTheSignalIsKilled) {
  ChildRequest asked = request({"sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"});
  asked.timeout_seconds = 0.2;
  EXPECT_EQ(run(asked).exit_status, 128 + 9);
}

TEST_F(ChildProcess, StopEndsIt) {
  const std::atomic<bool> stop{true};
  ChildRequest asked = request({"sleep", "60"});
  asked.stop = &stop;
  const ChildResult result = run(asked);
  EXPECT_TRUE(result.stopped);
  EXPECT_LT(result.wall_seconds, 10);
}

TEST_F(ChildProcess, AMissingProgramIsNamed) {
  const auto result = run_measured(request({"no-such-program-here"}));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kDependency);
  EXPECT_NE(result.error().message.find("no-such-program-here"), std::string::npos) << result.error().message;
}

}  // namespace
}  // namespace evolora
