// The worker of packs on MLX as a wall: what a pack does that the static rules would have refused ends it and leaves nothing behind; and the memory
// meter counts arrays.
#include "evolve/judge/mlx/mlx_runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "evolve/judge/mlx/mlx_numerics.h"
#include "kernels/pack/pack_compiler.h"

namespace evolora {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

class MlxRunners : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
    if (!judging_file("evolora_mlx_pack_worker").ok()) GTEST_SKIP() << "this build has no MLX";
  }
  // Compiled as packs are, without the rules and the look at the library. body: of lora_linear, after y is the standard result.
  fs::path library(const std::string& body, const std::string& head = "") {
    const fs::path lora = fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx/lora_linear/kernel.cpp";
    auto text = real_file_system().read(lora);
    EXPECT_TRUE(text.ok());
    const std::string before = "  const mx::array z = ";
    const std::size_t at = text->find(before);
    EXPECT_NE(at, std::string::npos);
    const KernelPack pack{.manifest = {.name = "t", .target = PackTarget::kMlx, .slots = {"lora_linear"}, .files = {"kernel.cpp"}},
                          .sources = {{"kernel.cpp", head + text->substr(0, at) + body + text->substr(at)}}};
    EXPECT_TRUE(real_file_system().create_directories(folder_ / "compile").ok());
    const Status compiled = compile_pack(real_file_system(), *direct_pack_compiler(), pack, folder_ / "compile", folder_ / "pack.so");
    EXPECT_TRUE(compiled.ok()) << (compiled.ok() ? "" : compiled.error().message);
    return folder_ / "pack.so";
  }
  static MlxProblemShape small() { return {.dora = false, .bits = 4, .group_size = 64, .n = 5, .widths = {128, 47}, .rank = 8}; }
  // Why a call fails; empty if it does not.
  std::string words(const std::string& body, const std::string& head = "") {
    MlxRunnerOptions options;
    options.call_seconds = 10;
    auto runner = MlxRunner::start(library(body, head), options);
    if (!runner.ok()) return runner.error().message;
    const MlxProblem problem(small(), 1);
    MlxOutputs outputs(problem);
    const auto run = (*runner)->run(problem, MlxMeasure::kTime, outputs);
    if (!run.ok()) return run.error().message;
    return MlxExpectation(problem).difference(outputs).value_or("");
  }
  TestFolder folder_;
};

TEST_F(MlxRunners, AnHonestPackPassesTheNumericsGate) {
  auto runner = MlxRunner::start(library(""), {});
  ASSERT_TRUE(runner.ok()) << runner.error().message;
  EXPECT_TRUE((*runner)->serves(false));
  EXPECT_FALSE((*runner)->serves(true));
  const auto result = judge_mlx_numerics(**runner, false, 3);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_TRUE(result->passed) << result->reason;
}

TEST_F(MlxRunners, WhatLeavesTheGraphEndsTheWorker) {
  const std::string file = "/tmp/evolora_hostile_mlx_pack";
  const struct {
    const char* what;
    std::string body, head;
  } cases[] = {
      {"a file through MLX", "mx::save(\"" + file + "\", y);", "#include <mlx/io.h>\n"},
      {"a file", "if (FILE* f = fopen(\"" + file + "\", \"w\")) fclose(f);", "#include <cstdio>\n"},
      {"a program", "if (fork() == 0) execl(\"/bin/true\", \"true\", nullptr);", "#include <unistd.h>\n"},
      {"MLX's compiler, which starts g++",
       "mx::array hostile = mx::compile([](const std::vector<mx::array>& in) -> std::vector<mx::array> { return {mx::exp(mx::add(in[0], in[0]))}; "
       "})({x})[0];"
       " mx::eval(hostile);",
       "#include <mlx/compile.h>\n"},
      {"a thread", "std::thread([] {}).join();", "#include <thread>\n"},
      {"the clock", "unsigned lo, hi; asm volatile(\"rdtsc\" : \"=a\"(lo), \"=d\"(hi));", ""},
      {"a socket", "socket(AF_INET, SOCK_STREAM, 0);", "#include <sys/socket.h>\n"},
      {"the end", "_exit(0);", "#include <unistd.h>\n"},
  };
  for (const auto& c : cases) {
    EXPECT_THAT(words(c.body, c.head), AnyOf(HasSubstr("it was ended"), HasSubstr("it ended the process"))) << c.what;
    EXPECT_FALSE(real_file_system().exists(file)) << c.what;
  }
}

// MLX on a CPU says so or runs into a null pointer: the candidate's end either way, and not the judge's.
TEST_F(MlxRunners, MoreMemoryThanThereMayBeEndsTheCandidate) {
  EXPECT_THAT(words("mx::array much = mx::zeros({1 << 15, 1 << 16}, mx::float32); mx::eval(much);"),
              AnyOf(HasSubstr("MLX: "), HasSubstr("it was ended")));
}

// 4 MiB that live until the result is there, on top of the same call.
TEST_F(MlxRunners, TheMeterCountsArrays) {
  const auto peak = [&](const std::string& body) -> double {
    auto runner = MlxRunner::start(library(body), {});
    EXPECT_TRUE(runner.ok());
    const MlxProblem problem(small(), 1);
    MlxOutputs outputs(problem);
    const auto run = (*runner)->run(problem, MlxMeasure::kMemory, outputs);
    EXPECT_TRUE(run.ok()) << (run.ok() ? "" : run.error().message);
    return run.ok() ? static_cast<double>(run->peak_bytes) : 0;
  };
  const double alone = peak("");
  const double more = peak("mx::array held = mx::add(mx::ones({1024, 1024}, mx::float32), x.shape(0) > 0 ? mx::sum(x) : x); mx::eval(held);");
  constexpr double kMebi = 1 << 20;
  EXPECT_GT(more - alone, 3.5 * kMebi);
  EXPECT_LT(more - alone, 9 * kMebi) << "at most the array and what it is made of";
}

}  // namespace
}  // namespace evolora
