// Whole judgings: the starting packs are scored, and candidates end at the gate they should, with words that help.
#include "evolve/judge/source_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class SourceJudges : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
    auto pack = read_pack(real_file_system(), fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/cpu/lora_linear_forward");
    ASSERT_TRUE(pack.ok()) << pack.error().message;
    options_.start = *pack;
    options_.work = folder_ / "work";
    options_.pairs = 3;
    options_.shapes = {smollm2_shapes(64)[1]};
    options_.held_out_shapes = {smollm2_shapes(48)[3]};
    options_.call_seconds = 2;
  }
  std::unique_ptr<SourceJudge> make() {
    auto judge = SourceJudge::create(real_file_system(), options_);
    EXPECT_TRUE(judge.ok()) << judge.error().message;
    return judge.ok() ? std::move(judge).value() : nullptr;
  }
  // A candidate with this whole text, of a pack that is one block.
  Judgement judged(const std::string& source) {
    options_.start.sources["kernel.cpp"] = in_block("");
    Candidate candidate;
    candidate.sources["kernel.cpp"] = in_block(source);
    auto result = make()->judge(candidate, 1, nullptr);
    EXPECT_TRUE(result.ok()) << result.error().message;
    return result.ok() ? *result : Judgement{};
  }
  // A whole pack of few lines that compiles quickly; body: of the forward function.
  static std::string small_pack(const std::string& body) {
    return "#include \"evolora_pack.h\"\n"
           "void evolora_lora_linear_forward(const evolora_lora_linear_forward_args* args, evolora_context* context) {\n" +
           body + "\n}\nsize_t evolora_lora_linear_forward_workspace_bytes(const evolora_lora_linear_forward_args*, int) { return 0; }\n";
  }
  static std::string in_block(const std::string& source) { return "// EVOLVE-BLOCK-START\n" + source + "\n// EVOLVE-BLOCK-END\n"; }
  TestFolder folder_;
  Candidate start_;
  SourceJudgeOptions options_;
};

TEST_F(SourceJudges, TheStartingPackIsScoredMeasuredAgainAndConfirmed) {
  const auto judge = make();
  auto first = judge->judge(start_, 1, nullptr);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->outcome, Outcome::kScored) << first->gate << ": " << first->reason;
  EXPECT_EQ(first->log_speed.size(), 3u);
  EXPECT_EQ(first->details["gates"].dump(), R"(["parse","rules","compile","numerics","determinism","microbenchmark"])");
  auto again = judge->measure_again(start_, 2, nullptr);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->log_speed.size(), 3u);
  auto confirmed = judge->confirm(start_, 1, nullptr);
  ASSERT_TRUE(confirmed.ok()) << confirmed.error().message;
  EXPECT_EQ(confirmed->log_speed.size(), 9u);
  EXPECT_TRUE(confirmed->details.contains("verdict"));
  EXPECT_THAT(confirmed->details["microbenchmark"]["cases"][0]["shape"].get<std::string>(), HasSubstr("n 48, in 1536"));
}

TEST_F(SourceJudges, ABadCandidateEndsAtTheFirstGateThatSeesIt) {
  Judgement judgement = judged("int x = ;");
  EXPECT_EQ(judgement.gate, "compile");
  EXPECT_THAT(judgement.artifact, HasSubstr("expected primary-expression"));
  EXPECT_LE(judgement.artifact.size(), 4096u);

  judgement = judged("#include \"/etc/passwd\"\n");
  EXPECT_EQ(judgement.gate, "rules");

  judgement = judged(small_pack("(void)args; (void)context;"));
  EXPECT_EQ(judgement.gate, "numerics");
  EXPECT_THAT(judgement.artifact, HasSubstr("y of projection 0[0]: got nan, expected "));

  judgement = judged(small_pack("(void)context; for (;;) args->projections[0].y[0] += 1;"));
  EXPECT_EQ(judgement.gate, "numerics");
  EXPECT_THAT(judgement.reason, HasSubstr("within 2 s"));

  Candidate candidate;
  candidate.sources["other.cpp"] = "";
  auto result = make()->judge(candidate, 1, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->gate, "parse");
  EXPECT_EQ(result->outcome, Outcome::kRejected);
  EXPECT_TRUE(result->log_speed.empty());
}

TEST_F(SourceJudges, ParametersAreCheckedAndChangesOutsideBlocksAreRefused) {
  const auto judge = make();
  Candidate candidate;
  candidate.genome["kTileRows"] = 4;
  auto result = judge->judge(candidate, 1, nullptr);
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->outcome, Outcome::kScored) << result->gate << ": " << result->reason;
  candidate.genome["kTileRows"] = 1000;
  result = judge->judge(candidate, 1, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->gate, "parse");
  EXPECT_THAT(result->reason, HasSubstr("kTileRows"));
  candidate.genome.clear();
  candidate.sources = options_.start.sources;
  candidate.sources.begin()->second = "// new first line\n" + candidate.sources.begin()->second;
  result = judge->judge(candidate, 1, nullptr);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->gate, "parse");
}

TEST_F(SourceJudges, StopIsAnError) {
  const std::atomic<bool> stop = true;
  auto result = make()->judge(start_, 1, &stop);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kInterrupted);
}

// Outputs of timed calls are compared, too.
TEST_F(SourceJudges, WhatIsRightOnlyWhereItIsSmallFailsTheTimedCalls) {
  std::string source = options_.start.sources.begin()->second;
  for (const std::string marker : {"EVOLVE-BLOCK-START", "EVOLVE-BLOCK-END"}) {
    for (std::size_t at = source.find(marker); at != std::string::npos; at = source.find(marker)) source.replace(at, marker.size(), "block");
  }
  const std::string body = "{ forward(args, context); }";
  const std::size_t at = source.find(body);
  ASSERT_NE(at, std::string::npos);
  source.replace(at, body.size(), "{\n  if (args->projections[0].weight.in != 576) forward(args, context);\n}");
  const Judgement judgement = judged(source);
  EXPECT_EQ(judgement.gate, "microbenchmark");
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_THAT(judgement.reason, HasSubstr("got nan"));
}

}  // namespace
}  // namespace evolora
