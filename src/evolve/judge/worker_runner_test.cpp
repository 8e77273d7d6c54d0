// Packs in the sandboxed worker: the honest one computes, the program's own kernels do, and what ends a dishonest one is said.
#include "evolve/judge/worker_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/process.h"
#include "base/test_folder.h"
#include "evolve/judge/numerics_gate.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class WorkerRunners : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
  }
  // The honest kernel of tests/hostile_packs, with this before it.
  fs::path library(const std::string& head) {
    const fs::path corpus = fs::path(EVOLORA_SOURCE_DIR) / "tests" / "hostile_packs";
    write_test_file(folder_ / "kernel.cpp", "#include \"evolora_pack.h\"\n#include <cstring>\n" + head + "\n#include \"honest_kernel.inc\"\n");
    ProcessRequest request{.argv = {"g++", "-std=c++20", "-O1", "-march=native", "-shared", "-fPIC", "-I",
                                    std::string(EVOLORA_SOURCE_DIR) + "/src/kernels/pack", "-I", corpus.string(), "-o",
                                    (folder_ / "kernel.so").string(), (folder_ / "kernel.cpp").string()}};
    request.standard_error = ProcessOutput::kCapture;
    const auto compiled = run_process(request);
    EXPECT_TRUE(compiled.ok() && compiled->exit_status == 0) << (compiled.ok() ? compiled->standard_error : compiled.error().message);
    return folder_ / "kernel.so";
  }
  // Why the first call, or the start, fails; empty if it does not.
  std::string words(const std::string& head, std::uint64_t layout = 0) {
    WorkerOptions options;
    options.call_seconds = 1;
    options.layout = layout;
    auto runner = WorkerRunner::start(library(head), options);
    if (!runner.ok()) return runner.error().message;
    LoraProblem problem(numerics_shapes(1).front(), 1);
    LoraOutputs outputs(problem);
    const Status status = (*runner)->run(LoraDirection::kForward, problem, 2, outputs);
    return status.ok() ? "" : status.error().message;
  }
  TestFolder folder_;
};

TEST_F(WorkerRunners, AnHonestPackPassesTheNumericsGate) {
  auto runner = WorkerRunner::start(library(""), {});
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  const auto result = judge_numerics(**runner, 3);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(result->passed) << result->reason;
  EXPECT_GT(result->calls, 100);
}

TEST_F(WorkerRunners, TheProgramsOwnKernelsPassTheNumericsGate) {
  const auto own = judging_file("evolora_builtin_pack.so");
  ASSERT_TRUE(own.ok()) << own.error().message;
  auto runner = WorkerRunner::start(*own, {.trust = PackTrust::kOwn});
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  const auto result = judge_numerics(**runner, 3);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(result->passed) << result->reason;
}

TEST_F(WorkerRunners, SaysWhatEndedACandidate) {
  EXPECT_THAT(words("#include <unistd.h>\n#define BEFORE_FORWARD(args, context) _exit(0);"), HasSubstr("status 0"));
  EXPECT_THAT(words("#include <unistd.h>\n#define BEFORE_FORWARD(args, context) fork();"), HasSubstr("system call"));
  EXPECT_THAT(words("#include <stdlib.h>\n#define BEFORE_FORWARD(args, context) abort();"), HasSubstr("abort"));
  EXPECT_THAT(words("#define BEFORE_FORWARD(args, context) const_cast<float*>(args->x)[0] = 1;"), HasSubstr("SIGSEGV"));
  EXPECT_THAT(words("#define BEFORE_FORWARD(args, context) args->projections[0].y[-1] = 1;"), HasSubstr("before the begin of an output"));
  EXPECT_THAT(words("#define BEFORE_FORWARD(args, context) for (;;) *static_cast<volatile int*>(&context->reserved) = 1;"), HasSubstr("within 1 s"));
  EXPECT_THAT(words("__attribute__((constructor)) static void start() { for (;;) asm volatile(\"\"); }"), HasSubstr("within 1 s"));
}

// A kernel that writes where within their pages the workspace and x lie.
TEST_F(WorkerRunners, ALayoutMovesArraysByWholeLines) {
  const fs::path path = library(
      "#define BEFORE_FORWARD(args, context) { args->projections[0].y[0] = (float)((unsigned long)context->workspace % 4096 * 4096 + "
      "(unsigned long)args->x % 4096); return; }");
  const auto places = [&](std::uint64_t layout) {
    auto runner = WorkerRunner::start(path, {.layout = layout});
    EXPECT_TRUE(runner.ok()) << (runner.ok() ? "" : runner.error().message);
    LoraProblem problem(numerics_shapes(1).front(), 1);
    LoraOutputs outputs(problem);
    if (!runner.ok() || !(*runner)->run(LoraDirection::kForward, problem, 1, outputs).ok()) return std::pair(-1L, -1L);
    const auto both = static_cast<long>(outputs.projections[0].y[0]);
    return std::pair(both / 4096, both % 4096);
  };
  const auto tight = places(0), one = places(5), other = places(6);
  for (const auto& [workspace, x] : {tight, one, other}) {
    EXPECT_EQ(workspace % 64, 0);
    EXPECT_EQ(x % 64, 0);
  }
  EXPECT_EQ(places(5), one);
  EXPECT_NE(one.first, tight.first);
  EXPECT_NE(one.second, tight.second);
  EXPECT_NE(one.first, other.first);
  EXPECT_NE(one.second, other.second);
}

TEST_F(WorkerRunners, WritingPastAnOutputIsSeenInEveryLayout) {
  const std::string head = "#define BEFORE_FORWARD(args, context) args->projections[0].y[args->n * args->projections[0].weight.out] = 1;";
  for (const std::uint64_t layout : {5, 6}) EXPECT_THAT(words(head, layout), HasSubstr("past the end of an output"));
}

TEST_F(WorkerRunners, AClockIsNotToBeSeen) {
  EXPECT_THAT(words("#include <time.h>\n#define BEFORE_FORWARD(args, context) { timespec t; clock_gettime(CLOCK_MONOTONIC, &t); }"),
              testing::AnyOf(HasSubstr("SIGSEGV"), HasSubstr("system call")));
  EXPECT_THAT(words("#define BEFORE_FORWARD(args, context) { context->reserved = (int)__builtin_ia32_rdtsc(); }"), HasSubstr("SIGSEGV"));
}

// An answer to the request that the kernel was called by, before it computes: outputs are taken while it stands still.
TEST_F(WorkerRunners, AForgedAnswerWinsNothing) {
  EXPECT_NE(words("#include <unistd.h>\n#define BEFORE_FORWARD(args, context) { char reply[256] = {1}; write(4, reply, sizeof reply); }"), "");
}

}  // namespace
}  // namespace evolora
