// Child processes: status, capture of both streams at once, missing programs.
#include "base/process.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

ProcessRequest captured(std::vector<std::string> argv) {
  return {.argv = std::move(argv), .standard_output = ProcessOutput::kCapture, .standard_error = ProcessOutput::kCapture};
}

TEST(Process, ArgumentsReachTheChildUnchanged) {
  const ProcessResult result = run_process(captured({"printf", "%s|", "a b", "$HOME", "*", "'\"", ""})).value();
  EXPECT_EQ(result.exit_status, 0);
  EXPECT_EQ(result.standard_output, "a b|$HOME|*|'\"||");
}

TEST(Process, ExitStatusAndSignal) {
  EXPECT_EQ(run_process({.argv = {"sh", "-c", "exit 7"}}).value().exit_status, 7);
  EXPECT_EQ(run_process({.argv = {"sh", "-c", "kill -9 $$"}}).value().exit_status, 128 + 9);
}

TEST(Process, BothStreamsAreDrainedTogether) {
  // More than a pipe holds on each stream, written in turns: reading one to its end first would block for ever.
  const ProcessResult result =
      run_process(captured({"sh", "-c", "for i in 1 2 3 4; do head -c 100000 /dev/zero >&2; head -c 100000 /dev/zero; done"})).value();
  EXPECT_EQ(result.standard_output.size(), 400000u);
  EXPECT_EQ(result.standard_error.size(), 400000u);
}

TEST(Process, KeepsTheLastBytesOfALongStream) {
  ProcessRequest request = captured({"sh", "-c", "head -c 100000 /dev/zero; echo end"});
  request.capture_limit_bytes = 10;
  const std::string text = run_process(request).value().standard_output;
  EXPECT_EQ(text.size(), 10u);
  EXPECT_EQ(text.substr(6), "end\n");
}

TEST(Process, StandardInputIsEmpty) { EXPECT_EQ(run_process(captured({"cat"})).value().standard_output, ""); }

// The shell's child holds the pipe: killing the shell alone would leave us waiting for it.
TEST(Process, WhenTheTimeIsOverTheWholeGroupIsGone) {
  ProcessRequest request = captured({"sh", "-c", "echo started; sleep 1000 & sleep 1000"});
  request.timeout_seconds = 0.2;
  const ProcessResult result = run_process(request).value();
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.exit_status, 128 + 9);
  EXPECT_EQ(result.standard_output, "started\n");
  request.argv = {"echo", "done"};
  request.timeout_seconds = 1000;
  const ProcessResult quick = run_process(request).value();
  EXPECT_FALSE(quick.timed_out);
  EXPECT_EQ(quick.standard_output, "done\n");
}

TEST(Process, MissingProgramIsADependencyError) {
  const auto result = run_process({.argv = {"evolora-no-such-program"}});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kDependency);
  EXPECT_NE(result.error().message.find("evolora-no-such-program"), std::string::npos);
}

}  // namespace
}  // namespace evolora
