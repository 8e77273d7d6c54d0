// Whole judgings of packs on MLX: the factored DoRA against the dequantizing one, and candidates that end at the gate they should.
#include "evolve/judge/mlx/mlx_source_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/test_folder.h"
#include "evolve/fitness.h"
#include "evolve/judge/mlx/mlx_problem_shapes.h"
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
    start_with("dora_linear");
    options_.work = folder_ / "work";
    options_.pairs = 2;
    options_.call_seconds = 20;
  }
  void start_with(const std::string& name) {
    options_.start = pack(name);
    ASSERT_TRUE(write_pack(real_file_system(), folder_ / name, options_.start).ok());
    const auto built = build_pack(real_file_system(), *direct_pack_compiler(), folder_ / name);
    ASSERT_TRUE(built.ok()) << built.error().message;
    options_.baseline = built->library;
    options_.shapes = mlx_shapes(options_.start.manifest, 8, 8);
    options_.held_out_shapes = mlx_shapes(options_.start.manifest, 8, kHeldOutRows);
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
    options_.training.settings.update({{"iters", 4}, {"batch_size", 2}, {"learning_rate", 1e-3}});
    options_.training.pairs = 1;
  }
  using Judging = Result<Judgement> (Judge::*)(const Candidate&, std::uint64_t, const std::atomic<bool>*);
  Judgement judged(const std::map<std::string, std::string>& sources, Judging judging = &Judge::judge, std::uint64_t seed = 1) {
    return judged(Candidate{.genome = {}, .sources = sources}, judging, seed);
  }
  Judgement judged(const Candidate& candidate, Judging judging, std::uint64_t seed) {
    auto judge = MlxSourceJudge::create(real_file_system(), options_);
    EXPECT_TRUE(judge.ok()) << (judge.ok() ? "" : judge.error().message);
    auto result = (**judge.*judging)(candidate, seed, nullptr);
    EXPECT_TRUE(result.ok()) << (result.ok() ? "" : result.error().message);
    return result.ok() ? *result : Judgement{};
  }
  // The starting pack's sources with one piece of text replaced.
  std::map<std::string, std::string> with(const std::string& from, const std::string& to) {
    std::string text = options_.start.sources.at("kernel.cpp");
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    return {{"kernel.cpp", text}};
  }
  Judgement changed(const std::string& from, const std::string& to) { return judged(with(from, to)); }

  // None of the numerics gate's problems has so many rows.
  static constexpr std::int64_t kHeldOutRows = 6;
  static constexpr const char* kLast = "return linear.bias ? mx::add(out, *linear.bias) : out;";
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

// Whatever the parameters that the starting packs declare are set to, the result is the same.
TEST_F(MlxSourceJudges, TheParametersOfTheStartingPacksChangeNoResult) {
  const std::pair<const char*, Genome> cases[] = {
      {"dora_linear", {{"kPackedProduct", true}, {"kNormPieces", 4}}},
      {"dora_linear_factored", {{"kDenseProducts", true}, {"kKeepXa", false}}},
      {"lora_linear", {{"kDenseProduct", true}}},
  };
  options_.pairs = 1;
  for (const auto& [name, genome] : cases) {
    start_with(name);
    const Judgement judgement = judged(Candidate{.genome = genome, .sources = {}}, &Judge::judge, 1);
    EXPECT_EQ(judgement.outcome, Outcome::kScored) << name << ": " << judgement.gate << ": " << judgement.reason;
  }
}

TEST_F(MlxSourceJudges, ABadCandidateEndsAtTheFirstGateThatSeesIt) {
  const std::string last = kLast;
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

TEST_F(MlxSourceJudges, AConfirmationHasOtherShapesMorePairsAndTrainsAgain) {
  train_on_the_tiny_model();
  const Judgement judgement = judged(pack("dora_linear_factored").sources, &Judge::confirm);
  ASSERT_EQ(judgement.outcome, Outcome::kScored) << judgement.gate << ": " << judgement.reason;
  EXPECT_EQ(judgement.details["gates"].dump(), R"(["parse","rules","compile","numerics","determinism","microbenchmark","training"])");
  EXPECT_EQ(judgement.log_memory.size(), static_cast<std::size_t>(3 * options_.pairs));
  EXPECT_EQ(judgement.log_speed.size(), judgement.log_memory.size());
  EXPECT_EQ(judgement.details["verdict"]["memory"], "better") << judgement.details.dump(1);
  for (const auto& each : judgement.details["microbenchmark"]["cases"]) EXPECT_THAT(each["shape"].get<std::string>(), HasSubstr("n 6, "));
  const auto& trained = judgement.details["training"]["dora_linear"];
  const double baseline = trained["pairs"][0]["baseline"]["loss"], candidate = trained["pairs"][0]["candidate"]["loss"];
  EXPECT_LT(baseline, trained["first_loss"].get<double>()) << "it learned something";
  EXPECT_NEAR(candidate, baseline, 0.01 * baseline);
}

TEST_F(MlxSourceJudges, AConfirmationSeesWhatIsWrongOnHeldOutShapesOnly) {
  const auto sources = with(kLast, "if (x.shape(-2) == 6) out = mx::multiply(out, mx::array(1.001F, out.dtype()));\n  " + std::string(kLast));
  EXPECT_EQ(judged(sources).outcome, Outcome::kScored);
  const Judgement judgement = judged(sources, &Judge::confirm);
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_EQ(judgement.gate, "microbenchmark") << judgement.reason;
  EXPECT_TRUE(judgement.log_memory.empty());
}

TEST_F(MlxSourceJudges, AConfirmationHasOtherInputs) {
  const auto sources = with(kLast, "return mx::zeros_like(out);");
  const std::string first = judged(sources).reason;
  EXPECT_THAT(first, HasSubstr("y[0]: got 0"));
  EXPECT_EQ(judged(sources).reason, first) << "the same seed, the same inputs";
  EXPECT_NE(judged(sources, &Judge::confirm).reason, first);
  EXPECT_NE(judged(sources, &Judge::judge, 2).reason, first);
}

TEST_F(MlxSourceJudges, MeasuringAgainGivesPairsOnly) {
  train_on_the_tiny_model();
  const Judgement judgement = judged(options_.start.sources, &Judge::measure_again);
  EXPECT_EQ(judgement.outcome, Outcome::kScored);
  EXPECT_EQ(judgement.log_memory.size(), static_cast<std::size_t>(options_.pairs));
  EXPECT_EQ(judgement.details["gates"].dump(), R"(["parse","rules","compile","microbenchmark"])");
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
