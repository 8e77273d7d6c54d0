// The meters tell plausible and monotonic values on the machine the test runs on.
#include "train/memory_meter.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

namespace evolora {
namespace {

TEST(ProcessMemory, SeesWhatWeTouch) {
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  const ProcessMemory before = process_memory();
  std::vector<char> block(kBytes);
  std::memset(block.data(), 1, block.size());
  const ProcessMemory after = process_memory();
  EXPECT_GT(before.rss_bytes, 0U);
  // Other threads and page caching may move a few pages: a tenth of slack.
  EXPECT_GE(after.anonymous_bytes + kBytes / 10, before.anonymous_bytes + kBytes);
  EXPECT_GE(after.peak_rss_bytes, after.rss_bytes);
  EXPECT_EQ(block.back(), 1);
}

TEST(ProcessMemory, ProgramIsPartOfTheMappedFiles) {
  const std::size_t program = program_resident_bytes();
  EXPECT_GT(program, 0U);
  EXPECT_LE(program, process_memory().mapped_file_bytes);
}

TEST(ProcessAge, IsSmallAndDoesNotRunBackwards) {
  const double first = process_age_seconds();
  const double second = process_age_seconds();
  EXPECT_GE(first, 0);
  EXPECT_LT(first, 3600);
  EXPECT_GE(second, first);
}

TEST(MachineInfo, NamesTheMachine) {
  const MachineInfo info = machine_info();
  EXPECT_GE(info.cores, 1);
  EXPECT_FALSE(info.os.empty());
  EXPECT_GT(info.memory_bytes, 0U);
}

}  // namespace
}  // namespace evolora
