// Trainings with packs on MLX as a gate: the same loss and the same fall pass, others do not; a confirmation trains on the other half.
#include "evolve/mlx_training_judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/test_folder.h"
#include "evolve/judge/worker_connection.h"
#include "kernels/pack/pack_compiler.h"
#include "measure/machine_notes.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class MlxTrainingJudges : public testing::Test {
 protected:
  void SetUp() override {
    const Status available = sandbox_available();
    if (!available.ok()) GTEST_SKIP() << available.error().message;
    if (!judging_file("evolora_mlx_pack_trainer").ok()) GTEST_SKIP() << "this build has no MLX";
    const auto pack = read_pack(files_, fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx/dora_linear");
    ASSERT_TRUE(pack.ok()) << pack.error().message;
    start_ = *pack;
    std::string text;
    for (int i = 0; i < 24; ++i)
      text += R"({"prompt": "question )" + std::to_string(i) + R"(", "completion": "answer )" + std::to_string(i * i) + "\"}\n";
    ASSERT_TRUE(files_.create_directories(folder_ / "data").ok());
    for (const char* name : {"train.jsonl", "valid.jsonl"}) ASSERT_TRUE(write_file_atomically(files_, folder_ / "data" / name, text).ok());
    const fs::path model = fs::path(EVOLORA_SOURCE_DIR) / "tests/data/tiny_llama_golden/model";
    RecipeJudgeSettings& settings = options_.settings;
    settings.common = {{"model", model.string()}, {"data", (folder_ / "data").string()}, {"iters", 4}, {"num_layers", -1}, {"batch_size", 4},
                       {"learning_rate", 1e-3}};
    settings.pairs = 1;
    settings.confirm_pairs = 2;
    settings.limits.time = 1000;
    settings.model_sha256 = *digest_of_files(files_, model);
    settings.data_sha256 = *digest_of_files(files_, folder_ / "data");
    options_.manifest = start_.manifest;
    options_.baseline = compiled("start", start_);
  }

  fs::path compiled(const std::string& name, const KernelPack& pack) {
    EXPECT_TRUE(files_.create_directories(folder_ / name).ok());
    const fs::path library = folder_ / (name + ".so");
    const Status status = compile_pack(files_, *direct_pack_compiler(), pack, folder_ / name, library);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
    return library;
  }
  // The starting pack with one piece of its text replaced.
  fs::path changed(const std::string& from, const std::string& to) {
    KernelPack pack = start_;
    std::string& text = pack.sources["kernel.cpp"];
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    return compiled("changed", pack);
  }
  std::unique_ptr<Judge> judge_of(const fs::path& library) {
    options_.library = [library](const Candidate&) { return Result<fs::path>(library); };
    auto judge = make_mlx_training_judge(files_, folder_ / "search", options_);
    EXPECT_TRUE(judge.ok()) << (judge.ok() ? "" : judge.error().message);
    return judge.ok() ? std::move(judge).value() : nullptr;
  }
  static Judgement good(Result<Judgement> judgement) {
    EXPECT_TRUE(judgement.ok()) << (judgement.ok() ? "" : judgement.error().message);
    return judgement.ok() ? *judgement : Judgement{};
  }
  Judgement judged(const fs::path& library) { return good(judge_of(library)->judge({}, 1, nullptr)); }

  FileSystem& files_ = real_file_system();
  TestFolder folder_;
  KernelPack start_;
  MlxTrainingJudgeOptions options_;
};

TEST_F(MlxTrainingJudges, TheSameTrainingPassesAndIsConfirmedOnTheOtherHalf) {
  const std::unique_ptr<Judge> judge = judge_of(options_.baseline);
  const Judgement first = good(judge->judge({}, 1, nullptr));
  ASSERT_EQ(first.outcome, Outcome::kScored) << first.reason;
  EXPECT_EQ(first.gate, "training");
  EXPECT_EQ(first.log_memory.size(), 1u);
  const Judgement confirmed = good(judge->confirm({}, 1, nullptr));
  ASSERT_EQ(confirmed.outcome, Outcome::kScored) << confirmed.reason;
  EXPECT_EQ(confirmed.log_speed.size(), 2u);
  const auto& search = first.details["dora_linear"];
  const auto& held_out = confirmed.details["dora_linear"];
  EXPECT_EQ(search["pairs"][0]["baseline"]["loss"], search["pairs"][0]["candidate"]["loss"]);
  EXPECT_GT(std::abs(search["first_loss"].get<double>() - held_out["first_loss"].get<double>()), 1e-3) << "other records, not other rounding";
  EXPECT_LT(held_out["pairs"][0]["candidate"]["loss"].get<double>(), held_out["first_loss"].get<double>());
  std::vector<std::string> passed;
  for (const auto& gate : confirmed.details["verdict"]["gates"]) {
    if (gate["state"] == "pass") passed.push_back(gate["name"].get<std::string>());
  }
  EXPECT_THAT(passed, testing::ElementsAre("val_loss", "progress"));
}

TEST_F(MlxTrainingJudges, AnotherLossIsRefused) {
  const Judgement judgement = judged(changed("return linear.bias ?", "return mx::stop_gradient(out);\n  return linear.bias ?"));
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_THAT(judgement.reason, HasSubstr("the loss of its adapter is"));
  EXPECT_TRUE(judgement.log_speed.empty());
}

// So slow a training that all losses are within the margin of the loss itself.
TEST_F(MlxTrainingJudges, WhatLearnsLessIsRefusedThoughItsLossIsNear) {
  options_.settings.common["learning_rate"] = 1e-6;
  const Judgement judgement = judged(changed("return linear.bias ?", "return mx::stop_gradient(out);\n  return linear.bias ?"));
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_THAT(judgement.reason, HasSubstr("the loss of its adapter fell from"));
}

TEST_F(MlxTrainingJudges, APackThatDoesNotApplyIsNoTrainingOfIt) {
  const Judgement judgement =
      judged(changed("const mx::array w = dense(linear.weight);",
                     "if (x.dtype() == mx::float32) return mx::astype(x, mx::bfloat16);\n  const mx::array w = dense(linear.weight);"));
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_THAT(judgement.reason, HasSubstr("does not apply to"));
}

TEST_F(MlxTrainingJudges, InAConfirmationTheLimitsHold) {
  options_.settings.limits.memory = 0;
  options_.settings.common["iters"] = 1;
  // A sum of 32 MB of ones that changes nothing.
  const fs::path larger = changed("return linear.bias ?",
                                  "out = mx::add(out, mx::astype(mx::multiply(mx::array(0.0F), mx::sum(mx::ones({8, 1024, 1024}))), out.dtype()));\n"
                                  "  return linear.bias ?");
  EXPECT_EQ(judged(larger).outcome, Outcome::kScored) << "one pair is too noisy to refuse anything for its size";
  const Judgement judgement = good(judge_of(larger)->confirm({}, 1, nullptr));
  EXPECT_EQ(judgement.outcome, Outcome::kRejected);
  EXPECT_THAT(judgement.reason, HasSubstr("x the memory of the baseline, at most 1 x is allowed"));
}

TEST_F(MlxTrainingJudges, OtherDataThanPlannedIsAnError) {
  options_.settings.data_sha256 = std::string(64, '0');
  const auto judge = make_mlx_training_judge(files_, folder_ / "search", options_);
  ASSERT_FALSE(judge.ok());
  EXPECT_THAT(judge.error().message, HasSubstr("the data is not what it was"));
}

}  // namespace
}  // namespace evolora
