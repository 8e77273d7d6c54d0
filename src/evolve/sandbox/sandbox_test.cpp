// What a sandboxed program can see and do, asked by shells inside, and that its end is the end of all that it started.
#include "evolve/sandbox/sandbox.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/test_folder.h"

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;

class Sandbox : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
  }
  static SandboxRequest shell(const std::string& script) {
    SandboxRequest request;
    request.argv = {"/usr/bin/bash", "-c", script};
    request.environment = {{"PATH", "/usr/bin"}};
    request.root = SandboxRoot::kSystem;
    request.system_calls = SystemCalls::kCompiler;
    request.limits.wall_seconds = 20;
    return request;
  }
  static SandboxResult run(const SandboxRequest& request) {
    auto result = run_sandboxed(request, Isolation::kSandbox, nullptr);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? *result : SandboxResult{};
  }
  static std::string out(const std::string& script) {
    const SandboxResult result = run(shell(script));
    return result.standard_output + result.standard_error;
  }
};

// Host processes whose command line has the word.
int processes_with(const std::string& word) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream file(entry.path() / "cmdline");
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    count += text.find(word) != std::string::npos && entry.path().filename() != std::to_string(getpid());
  }
  return count;
}

TEST_F(Sandbox, SeesAnEmptyMachine) {
  EXPECT_THAT(out("echo /*"), testing::MatchesRegex("/bin /dev /etc /lib( /lib32)? /lib64 /sbin /tmp /usr\n"));
  EXPECT_EQ(out("echo /etc/* /dev/* /tmp/*"), "/etc/alternatives /etc/ld.so.cache /dev/null /dev/urandom /dev/zero /tmp/*\n");
  EXPECT_THAT(out("read line < /etc/passwd"), HasSubstr("No such file"));
  EXPECT_THAT(out("read line < /proc/1/environ"), HasSubstr("No such file"));
}

TEST_F(Sandbox, HasTheGivenEnvironmentOnly) {
  ASSERT_EQ(0, setenv("EVOLORA_TEST_SECRET", "canary", 1));
  SandboxRequest request = shell("");
  request.argv = {"/usr/bin/env"};
  EXPECT_EQ(run(request).standard_output, "PATH=/usr/bin\nPWD=/tmp\n");
  request = shell("cat /proc/*/environ; echo /proc/[0-9]*");
  request.has_proc = true;
  const std::string text = run(request).standard_output;
  EXPECT_THAT(text, Not(HasSubstr("canary")));
  EXPECT_THAT(text, HasSubstr("/proc/1"));
  EXPECT_THAT(text, Not(HasSubstr("/proc/" + std::to_string(getpid()) + " ")));
  unsetenv("EVOLORA_TEST_SECRET");
}

TEST_F(Sandbox, WritesNowhereButWhereItMay) {
  TestFolder folder;
  for (const char* name : {"open", "shut"}) std::filesystem::create_directories(folder.path() / name);
  SandboxRequest request = shell("echo a > " + (folder.path() / "open/x").string() + "; echo b > " + (folder.path() / "shut/x").string() +
                                 "; echo c > /usr/x; echo d > /x; echo e > /dev/x; echo f > /tmp/x; cat /tmp/x");
  request.mounts = {{folder.path() / "open", SandboxMount::Access::kWrite}, {folder.path() / "shut"}};
  const SandboxResult result = run(request);
  EXPECT_EQ(result.standard_output, "f\n");
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "open/x"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "shut/x"));
  for (const char* path : {"/usr/x", "/x", "/dev/x"}) EXPECT_THAT(result.standard_error, HasSubstr(std::string(path) + ": Read-only file system"));
}

TEST_F(Sandbox, LimitsFilesAndTheirFolder) {
  SandboxRequest request =
      shell("head -c 3000000 /dev/zero > /tmp/a; head -c 500000 /dev/zero > /tmp/b && head -c 800000 /dev/zero > /tmp/c; echo $?");
  request.limits.file_bytes = 1'000'000;
  request.limits.tmp_bytes = 2'000'000;
  const SandboxResult result = run(request);
  EXPECT_THAT(result.standard_error, HasSubstr("No space left on device"));
  EXPECT_THAT(result.standard_output, HasSubstr("1\n"));
}

// Namespaces, mounts: the kernel ends the process with SIGSYS (128 + 31).
TEST_F(Sandbox, ForbiddenCallsEndTheProcess) {
  EXPECT_THAT(out("(exec unshare -U true) ; echo $?"), HasSubstr("159"));
  EXPECT_THAT(out("(exec mount -t tmpfs none /tmp) ; echo $?"), HasSubstr("159"));
}

TEST_F(Sandbox, HasNoNetwork) { EXPECT_THAT(out("exec 3<>/dev/tcp/127.0.0.1/9"), HasSubstr("Operation not permitted")); }

TEST_F(Sandbox, OnlyNamedDescriptorsArrive) {
  auto file = make_memory_file("gift", "hello");
  ASSERT_TRUE(file.ok());
  const int leaked = ::dup(1);  // without CLOEXEC
  SandboxRequest request = shell("echo /proc/self/fd/*; cat <&5");
  request.has_proc = true;
  request.descriptors = {{file->get(), 5}};
  const std::string text = run(request).standard_output;
  ::close(leaked);
  // 3 is the folder that bash reads.
  EXPECT_EQ(text, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3 /proc/self/fd/5\nhello");
}

TEST_F(Sandbox, KeepsTheLastWordsOnly) {
  SandboxRequest request = shell("yes | head -c 5000000; echo end; echo error >&2; exit 7");
  request.output_limit_bytes = 1000;
  const SandboxResult result = run(request);
  EXPECT_EQ(result.exit_status, 7);
  EXPECT_EQ(result.standard_output.size(), 1000u);
  EXPECT_THAT(result.standard_output, testing::EndsWith("y\nend\n"));
  EXPECT_EQ(result.standard_error, "error\n");
}

TEST_F(Sandbox, TimeOutLeavesNoProcess) {
  // Daemons in sessions of their own, deaf to signals.
  SandboxRequest request = shell("for i in 1 2 3; do setsid bash -c 'trap \"\" TERM INT HUP; sleep 5431.25; sleep 5431.25' & done; sleep 5431.25");
  request.limits.wall_seconds = 0.5;
  const SandboxResult result = run(request);
  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(processes_with("5431.25"), 0);
}

TEST_F(Sandbox, DaemonsEndWithTheirStarter) {
  const SandboxResult result = run(shell("setsid sleep 5432.25 & exit 3"));
  EXPECT_EQ(result.exit_status, 3);
  EXPECT_EQ(processes_with("5432.25"), 0);
}

TEST_F(Sandbox, StopEndsIt) {
  std::atomic<bool> stop = true;
  const auto result = run_sandboxed(shell("sleep 100"), Isolation::kSandbox, &stop);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->stopped);
}

TEST(SandboxWithoutIsolation, RunsTheSameProgramAndEndsItsGroup) {
  SandboxRequest request;
  request.argv = {"/bin/sh", "-c", "sleep 5433.25 & echo out; sleep 5433.25"};
  request.limits.wall_seconds = 0.3;
  const auto result = run_sandboxed(request, Isolation::kNone, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_TRUE(result->timed_out);
  EXPECT_EQ(result->standard_output, "out\n");
  EXPECT_EQ(processes_with("5433.25"), 0);
}

TEST(SandboxWithoutIsolation, AMissingProgramIsAnError) {
  SandboxRequest request;
  request.argv = {"/nowhere/program"};
  const auto result = run_sandboxed(request, Isolation::kNone, nullptr);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kDependency);
}

}  // namespace
}  // namespace evolora
