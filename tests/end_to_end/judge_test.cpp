// `evolora judge` as another program's search meets it: a pack against itself has a score, what is wrong has none and says at which gate.
#include "cli_support.h"
#include "small_pack.h"

namespace evolora {
namespace {

class CliJudge : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    const std::string said = run({"judge", kernel(), "--pack", pack_, "--work", path("probe"), "--pairs", "2", "--json"}).standard_error;
    if (said.find("sandbox") != std::string::npos || said.find("bwrap") != std::string::npos) GTEST_SKIP() << "no sandbox on this machine";
  }
  std::string kernel() const { return pack_ + "/kernel.cpp"; }
  std::string source() {
    auto text = files_.read(kernel());
    EXPECT_TRUE(text.ok());
    return text.ok() ? std::move(text).value() : "";
  }
  Json judge(const std::string& program) {
    const ProcessResult result = run({"judge", program, "--pack", pack_, "--work", path("work"), "--pairs", "2", "--json"});
    EXPECT_EQ(result.exit_status, 0) << result.standard_error;
    return result.exit_status == 0 ? Json::parse(result.standard_output) : Json::object();
  }
  const std::string pack_ = std::string(EVOLORA_SOURCE_DIR) + "/examples/packs/cpu/lora_linear_forward";
};

TEST_F(CliJudge, AHonestKernelHasAScore) {
  const Json answer = judge(kernel());
  EXPECT_EQ(answer["outcome"], "scored") << answer.dump(2);
  EXPECT_EQ(answer["details"]["isolation"], "sandbox");
  EXPECT_GT(answer["combined_score"].get<double>(), 0);
  EXPECT_EQ(answer["pairs"], 2);
  EXPECT_EQ(answer["details"]["microbenchmark"]["processes"], 4);
}

TEST_F(CliJudge, WhatFailsAGateHasNoScore) {
  const std::string text = source();
  write("outside.cpp", "// outside of the marked blocks\n" + text);
  const Json outside = judge(path("outside.cpp"));
  EXPECT_EQ(outside["outcome"], "rejected");
  EXPECT_EQ(outside["gate"], "parse") << outside.dump(2);
  EXPECT_FALSE(outside.contains("combined_score"));

  const std::size_t at = text.find("constexpr int kTileVectors");
  ASSERT_NE(at, std::string::npos);
  std::string broken = text;
  broken.insert(at, "constexpr int kOther = undeclared_name;\n");
  write("broken.cpp", broken);
  const Json answer = judge(path("broken.cpp"));
  EXPECT_EQ(answer["outcome"], "rejected");
  EXPECT_EQ(answer["gate"], "compile") << answer.dump(2);
  EXPECT_NE(answer["artifact"].get<std::string>().find("undeclared_name"), std::string::npos);
}

// The manifest's target decides which judge it is.
TEST_F(CliJudge, APackOnMlxIsJudgedByItsTimeAndItsMemory) {
  if (!fs::exists(fs::path(EVOLORA_BUILD_DIR) / "evolora_mlx_engine.so")) GTEST_SKIP() << "built without the MLX engine";
  const std::string packs = std::string(EVOLORA_SOURCE_DIR) + "/examples/packs/mlx/";
  ASSERT_EQ(run({"evolve", "init", path("mine"), "--target", "mlx", "--slot", "dora_linear"}).exit_status, 0);
  const ProcessResult result =
      run({"judge", packs + "dora_linear_factored/kernel.cpp", "--pack", path("mine/pack"), "--work", path("work"), "--pairs", "2", "--json"});
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  const Json answer = Json::parse(result.standard_output);
  EXPECT_EQ(answer["outcome"], "scored") << answer.dump(2);
  EXPECT_EQ(answer["gate"], "microbenchmark");
  EXPECT_GT(answer["memory_saving"].get<double>(), 1.5) << answer.dump(2);
  EXPECT_GT(answer["combined_score"].get<double>(), 1) << "of memory";
  EXPECT_GT(answer["speedup"].get<double>(), 0);
  EXPECT_EQ(answer["details"]["microbenchmark"]["processes"], 16) << "pairs, shapes, arms, and one each for time and memory";
}

// On a machine whose bubblewrap always fails. The pack was never compiled, so the compiler's sandbox would be the first to fail.
TEST_F(CliJudge, WithoutASandboxThatIsWhatIsSaidAndNotThatThePackDoesNotCompile) {
  write("pack/pack.json", kSmallPackManifest);
  write("pack/kernel.cpp", kSmallPack);
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"judge", path("pack/kernel.cpp"), "--pack", path("pack"), "--work", path("work")},
                                             {"evolve", "run", "--pack", path("pack"), "--kernels-only", "--out", path("s")}}) {
    ProcessRequest request;
    request.argv = {"bwrap", "--dev-bind", "/", "/", "--ro-bind", "/bin/false", "/usr/bin/bwrap", EVOLORA_BINARY};
    request.argv.insert(request.argv.end(), arguments.begin(), arguments.end());
    request.standard_output = request.standard_error = ProcessOutput::kCapture;
    const auto result = run_process(request);
    ASSERT_TRUE(result.ok()) << result.error().message;
    EXPECT_EQ(result->exit_status, 2);
    EXPECT_NE(result->standard_error.find("programs cannot be sandboxed here: "), std::string::npos) << result->standard_error;
    EXPECT_NE(result->standard_error.find("; without a sandbox no source is run that nobody read\n"), std::string::npos) << result->standard_error;
  }
}

TEST_F(CliJudge, MistakesOfTheCallerAreErrors) {
  const ProcessResult result = run({"judge", path("missing.cpp"), "--pack", pack_});
  EXPECT_EQ(result.exit_status, 2);
  EXPECT_NE(result.standard_error.find("missing.cpp"), std::string::npos) << result.standard_error;
  const auto refusal = [&](std::vector<std::string> more, const std::string& pack) {
    more.insert(more.begin(), {"judge", pack + "/kernel.cpp", "--pack", pack});
    const ProcessResult refused = run(more);
    EXPECT_EQ(refused.exit_status, 2);
    return refused.standard_error;
  };
  const std::string mlx = std::string(EVOLORA_SOURCE_DIR) + "/examples/packs/mlx/dora_linear";
  EXPECT_NE(refusal({"--model", "m"}, pack_).find("--model: short trainings are a gate of packs for mlx"), std::string::npos);
  EXPECT_NE(refusal({"--objective", "memory"}, pack_).find("--objective: "), std::string::npos);
  EXPECT_NE(refusal({"--model", "m"}, mlx).find("--model and --data: expected both or neither"), std::string::npos);
  EXPECT_NE(refusal({"--against-own-kernels"}, mlx).find("--against-own-kernels: "), std::string::npos);
}

}  // namespace
}  // namespace evolora
