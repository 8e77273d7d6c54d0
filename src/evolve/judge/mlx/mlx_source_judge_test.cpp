// Whole judgings of packs on MLX: the factored DoRA against the dequantizing one, and candidates that end at the gate they should.
#include "evolve/judge/mlx/mlx_source_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/test_folder.h"
#include "evolve/fitness.h"
#include "evolve/judge/worker_connection.h"
#include "kernels/pack/pack_compiler.h"
#include "measure/estimators.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class MlxSourceJudges : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
    const auto worker = judging_file("evolora_mlx_pack_worker");
    if (!worker.ok()) GTEST_SKIP() << "this build has no MLX";
    options_.start = pack("dora_linear");
    ASSERT_TRUE(write_pack(real_file_system(), folder_ / "start", options_.start).ok());
    const auto built = build_pack(real_file_system(), *direct_pack_compiler(), folder_ / "start");
    ASSERT_TRUE(built.ok()) << built.error().message;
    options_.baseline = built->library;
    options_.work = folder_ / "work";
    options_.pairs = 2;
    options_.rows = 8;
    options_.held_out_rows = 5;
    options_.call_seconds = 20;
  }
  static KernelPack pack(const std::string& name) {
    const auto read = read_pack(real_file_system(), fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx" / name);
    EXPECT_TRUE(read.ok()) << (read.ok() ? "" : read.error().message);
    return read.ok() ? *read : KernelPack{};
  }
  void train_on_the_tiny_model() {
    const fs::path golden = fs::path(EVOLORA_SOURCE_DIR) / "tests/data/tiny_llama_golden";
    options_.training.model = golden / "model";
    options_.training.data = golden / "data";
    options_.training.iters = 4;
    options_.training.batch_size = 2;
    options_.training.learning_rate = 1e-2;
    options_.training.pairs = 1;
  }
  Judgement judged(const std::map<std::string, std::string>& sources) {
    auto judge = MlxSourceJudge::create(real_file_system(), options_);
    EXPECT_TRUE(judge.ok()) << (judge.ok() ? "" : judge.error().message);
    Candidate candidate;
    candidate.sources = sources;
    auto result = (*judge)->judge(candidate, 1, nullptr);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return result.ok() ? *result : Judgement{};
  }
  // The starting pack with one piece of its text replaced.
  Judgement changed(const std::string& from, const std::string& to) {
    std::string text = options_.start.sources.at("kernel.cpp");
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    return judged({{"kernel.cpp", text}});
  }
  TestFolder folder_;
  MlxSourceJudgeOptions options_;
};

TEST_F(MlxSourceJudges, TheFactoredDoraTakesLessMemoryAndLosesNothing) {
  train_on_the_tiny_model();
  const Judgement judgement = judged(pack("dora_linear_factored").sources);
  ASSERT_EQ(judgement.outcome, Outcome::kScored) << judgement.gate << ": " << judgement.reason;
  EXPECT_EQ(judgement.details["gates"].dump(), R"(["parse","rules","compile","numerics","determinism","microbenchmark","training"])");
  ASSERT_EQ(judgement.log_memory.size(), 2u);
  ASSERT_EQ(judgement.log_speed.size(), 2u);
  // The dequantizing pack keeps a dense weight of each linear for its backward pass, at 576 x 576 and in fp32 1.3 MB, and makes more of them; the
  // other one keeps rows of 8.
  EXPECT_GT(lower_bound(judgement.log_memory), std::log(2.0)) << judgement.details.dump(1);
  const auto& pair = judgement.details["training"]["dora_linear"]["pairs"][0];
  EXPECT_NEAR(pair["candidate"]["loss"].get<double>(), pair["baseline"]["loss"].get<double>(), 0.01 * pair["baseline"]["loss"].get<double>());
}

TEST_F(MlxSourceJudges, AgainstItselfThereIsNoDifferenceInMemory) {
  const Judgement judgement = judged(options_.start.sources);
  ASSERT_EQ(judgement.outcome, Outcome::kScored) << judgement.gate << ": " << judgement.reason;
  // Pages that the C library touches or not: some of a peak of tens of MiB.
  for (const double log : judgement.log_memory) EXPECT_NEAR(log, 0, 0.15);
  EXPECT_EQ(judgement.details["training"], "not run: no model and data were given");
}

TEST_F(MlxSourceJudges, ABadCandidateEndsAtTheFirstGateThatSeesIt) {
  const std::string last = "return linear.bias ? mx::add(out, *linear.bias) : out;";
  struct Case {
    std::string from, to;
    const char* gate;
    const char* reason;
  };
  const Case cases[] = {
      {"#include \"evolora_mlx_pack.h\"", "#include \"evolora_mlx_pack.h\"\n#include <mlx/io.h>", "parse", "a change outside the blocks"},
      {last, "mx::eval(out); " + last, "rules", "'eval' is not allowed in a kernel pack on MLX"},
      {last, "return ;", "compile", ""},
      {last, "static int calls = 0; if (++calls > 1000) return x; " + last, "compile", "results must depend on the arguments only"},
      {"evolora_mlx_dora_linear(", "evolora_mlx_lora_linear(", "numerics", "it defines evolora_mlx_lora_linear, which is not among the pack's slots"},
      {last, "return mx::zeros_like(out);", "numerics", "y[0]: got 0"},
      {last, "return mx::multiply(out, mx::array(1.0001F, out.dtype()));", "numerics", "y["},
      {last, "return mx::astype(out, mx::float16);", "numerics", "MLX: the result of a linear has a wrong shape or type"},
      {last, "return mx::reshape(out, {3, 1});", "numerics", "MLX: "},
      // Right results and wrong gradients: through the norm, and none of m.
      {"mx::stop_gradient(mx::linalg::norm(adapted, std::vector<int>{1}))", "mx::linalg::norm(adapted, std::vector<int>{1})", "numerics", "da of"},
      {"mx::divide(*linear.m, norm)", "mx::divide(mx::stop_gradient(*linear.m), norm)", "numerics", "dm of"},
      // A product in fewer bits than the model has.
      {"mx::matmul(x, mx::transpose(w))",
       "mx::astype(mx::matmul(mx::astype(x, mx::bfloat16), mx::astype(mx::transpose(w), mx::bfloat16)), x.dtype())", "numerics", "y["},
  };
  for (const Case& c : cases) {
    const Judgement judgement = changed(c.from, c.to);
    EXPECT_EQ(judgement.outcome, Outcome::kRejected) << c.to;
    EXPECT_EQ(judgement.gate, c.gate) << c.to << ": " << judgement.reason;
    EXPECT_THAT(judgement.reason, HasSubstr(c.reason)) << c.to;
    EXPECT_TRUE(judgement.log_memory.empty());
  }
}

TEST_F(MlxSourceJudges, AnEndlessLoopIsEnded) {
  options_.call_seconds = 3;
  const Judgement judgement = changed("const mx::array w = dense(linear.weight);",
                                      "for (int i = 0; i >= 0; i = i == 7 ? 0 : i + 1) {} const mx::array w = dense(linear.weight);");
  EXPECT_EQ(judgement.gate, "numerics");
  EXPECT_THAT(judgement.reason, HasSubstr("within 3 s"));
}

// Right wherever the gates before look, wrong for the sizes of the model that is trained.
TEST_F(MlxSourceJudges, WhatOnlyTrainingShowsIsSeenInTheLossOfTheAdapter) {
  train_on_the_tiny_model();
  const Judgement judgement = changed("return linear.bias ?", "if (linear.weight.out == 64) return mx::stop_gradient(out);\n  return linear.bias ?");
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_EQ(judgement.gate, "training") << judgement.reason;
  EXPECT_THAT(judgement.reason, HasSubstr("the loss of its adapter is"));
  EXPECT_TRUE(judgement.log_memory.empty()) << "no score";
}

}  // namespace
}  // namespace evolora
