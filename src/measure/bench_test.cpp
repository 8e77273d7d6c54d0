// Plans, sample files, the rule that ends a paired bench, and the sequential report: on records that no process made.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/test_folder.h"
#include "measure/paired_bench.h"
#include "measure/sequential_design.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

BenchPlan plan_with(const std::vector<std::size_t>& looks) {
  BenchPlan plan;
  plan.baseline.name = "a";
  plan.baseline.program = "p";
  plan.candidate.name = "b";
  plan.candidate.program = "p";
  plan.common = {{"model", "m"}, {"data", "d"}};
  plan.looks = looks;
  plan.machine = Json::object();
  plan.versions = Json::object();
  return plan;
}

class Records {
 public:
  explicit Records(const BenchPlan& plan) : digest_(plan_digest(plan)) {}
  TrialRecord one(ArmRole role, std::size_t pair, double seconds) {
    TrialRecord record;
    record.plan_sha256 = digest_;
    record.role = role;
    record.pair = pair;
    record.warmup = pair == 0;
    record.status = TrialStatus::kOk;
    record.sample.wall_seconds = seconds * std::exp(0.01 * normal_(random_));
    record.sample.peak_bytes = 1e8;
    record.sample.tokens = 1000;
    record.sample.steps = 10;
    record.sample.train_loss = 2 + 1e-3 * normal_(random_);
    record.sample.first_loss = 3;
    record.sample.progress = 1;
    record.notes = Json::object();
    return record;
  }
  void add_pair(std::size_t pair, double baseline_seconds, double candidate_seconds) {
    all.push_back(one(ArmRole::kBaseline, pair, baseline_seconds));
    all.push_back(one(ArmRole::kCandidate, pair, candidate_seconds));
  }
  std::vector<TrialRecord> all;

 private:
  std::string digest_;
  std::mt19937_64 random_{1};
  std::normal_distribution<double> normal_;
};

TEST(BenchPlan, SurvivesJsonAndHasAStableDigest) {
  BenchPlan plan = plan_with(growing_looks(40));
  plan.precision = 0.02;
  EXPECT_FALSE(plan_to_json(plan).contains("futility"));
  plan.futility = true;
  plan.wanted = "memory";
  const auto again = plan_from_json(Json::parse(plan_to_json(plan).dump(2)), "plan.json");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(plan_digest(*again), plan_digest(plan));
  EXPECT_TRUE(again->gate_spending);
  // A plan of several looks from before gates paid for them.
  Json old = plan_to_json(plan);
  old.erase("gate_spending");
  const auto full = plan_from_json(old, "plan.json");
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(plan_to_json(*full), old);
  EXPECT_EQ(look_levels(*full).front().gate, kGateAlpha);
  EXPECT_LT(look_levels(*again).front().gate, kGateAlpha / 2);
  plan.rules.loss_margin = 0.02;
  EXPECT_NE(plan_digest(*again), plan_digest(plan));
}

TEST(BenchPlan, DamageIsNamed) {
  const Json good = plan_to_json(plan_with({5}));
  for (const auto& [key, value] : {std::pair<const char*, Json>{"format", 2},
                                   {"looks", Json::array({5, 5})},
                                   {"design", "x"},
                                   {"precision", -1},
                                   {"futility", 1},
                                   {"wanted", "joy"},
                                   {"gate_spending", 1},
                                   {"rules", Json::object()},
                                   {"seed", -1}}) {
    Json bad = good;
    bad[key] = value;
    const auto plan = plan_from_json(bad, "plan.json");
    ASSERT_FALSE(plan.ok()) << key;
    EXPECT_NE(plan.error().message.find(key), std::string::npos) << plan.error().message;
  }
}

TEST(BenchPlan, SeedsAndOrder) {
  BenchPlan plan = plan_with({200});
  EXPECT_EQ(trial_seed(plan, ArmRole::kBaseline, 3), trial_seed(plan, ArmRole::kCandidate, 3));
  int first = 0;
  for (std::size_t pair = 1; pair <= 200; ++pair) first += candidate_first(plan, pair) ? 1 : 0;
  EXPECT_NEAR(first, 100, 30);
  plan.design = BenchDesign::kSequential;
  EXPECT_EQ(trial_seed(plan, ArmRole::kBaseline, 2), 44U);
  EXPECT_EQ(trial_seed(plan, ArmRole::kCandidate, 2), 102U);
}

TEST(Assess, DecidesAtTheLastLook) {
  const BenchPlan plan = plan_with({6});
  Records records(plan);
  for (std::size_t pair = 0; pair < 6; ++pair) records.add_pair(pair, 3, 2);
  EXPECT_FALSE(assess(plan, records.all).finished);
  EXPECT_NE(assess(plan, records.all).verdict.decision, Decision::kAccept) << "five of six pairs: the plan does not look here";
  records.add_pair(6, 3, 2);
  EXPECT_TRUE(assess(plan, records.all).finished);
  EXPECT_EQ(assess(plan, records.all).verdict.decision, Decision::kAccept) << assess(plan, records.all).verdict.reason;
}

TEST(Assess, StopsAtTheFirstLookThatDecidesAndStaysThere) {
  const BenchPlan plan = plan_with({6, 8, 11});
  Records records(plan);
  for (std::size_t pair = 0; pair <= 8; ++pair) records.add_pair(pair, 3, 2);
  const Assessment assessment = assess(plan, records.all);
  EXPECT_TRUE(assessment.finished);
  EXPECT_EQ(assessment.verdict.pairs, 6U);
  EXPECT_LT(assessment.verdict.level, 0.05);
}

TEST(Assess, PrecisionEndsAnUndecidedBench) {
  BenchPlan plan = plan_with({6, 40});
  plan.rules.min_effect = 0;
  plan.rules.regression_margin = 0;
  Records records(plan);
  for (std::size_t pair = 0; pair <= 6; ++pair) records.add_pair(pair, 2, 2);
  ASSERT_EQ(assess(plan, records.all).verdict.decision, Decision::kInconclusive);
  EXPECT_FALSE(assess(plan, records.all).finished);
  plan.precision = 0.2;
  EXPECT_TRUE(assess(plan, records.all).finished);
}

// Of a plan for futility, the look from where the end is out of sight ends it, without a decision; one from where the end is in sight does not.
TEST(Assess, FutilityEndsABenchThatTheRestWouldNotDecide) {
  for (const double spread : {0.08, 0.8}) {
    BenchPlan plan = plan_with({6, 12});
    Records records(plan);
    for (std::size_t pair = 0; pair <= 6; ++pair) records.add_pair(pair, pair % 2 == 0 ? 2.12 - spread : 2.12 + spread, 2);
    EXPECT_FALSE(assess(plan, records.all).finished) << assess(plan, records.all).verdict.reason;
    plan.futility = true;
    const Assessment ended = assess(plan, records.all);
    EXPECT_EQ(ended.verdict.decision, Decision::kInconclusive) << ended.verdict.reason;
    EXPECT_EQ(ended.finished, spread > 0.5) << ended.verdict.reason;
  }
}

// A failed trial of the candidate speaks against it whatever the others show: a plan for futility does not go on.
TEST(Assess, AFailedTrialIsFutile) {
  BenchPlan plan = plan_with({6, 12});
  Records records(plan);
  for (std::size_t pair = 0; pair <= 6; ++pair) records.add_pair(pair, 3, 2);
  records.all[3].status = TrialStatus::kFailed;
  records.all[3].role = ArmRole::kCandidate;
  records.all[2].role = ArmRole::kBaseline;
  EXPECT_FALSE(assess(plan, records.all).finished);
  plan.futility = true;
  const Assessment ended = assess(plan, records.all);
  EXPECT_TRUE(ended.finished);
  EXPECT_EQ(ended.verdict.decision, Decision::kInconclusive) << ended.verdict.reason;
}

// A plan that wants one claim does not end early with the other.
TEST(Assess, OnlyTheWantedClaimEndsABenchEarly) {
  BenchPlan plan = plan_with({6, 12});
  Records records(plan);
  for (std::size_t pair = 0; pair <= 6; ++pair) {
    records.add_pair(pair, pair % 2 == 0 ? 2.05 : 2.11, 2);
    records.all.back().sample.peak_bytes = 5e7;
  }
  const auto decided = [&] { return assess(plan, records.all).verdict.decision == Decision::kAccept; };
  EXPECT_TRUE(decided());
  plan.wanted = "memory";
  EXPECT_TRUE(decided());
  plan.wanted = "speed";
  EXPECT_FALSE(decided());
  EXPECT_FALSE(assess(plan, records.all).finished);
}

TEST(Assess, AHopelessArmEndsTheBench) {
  const BenchPlan plan = plan_with({20});
  Records records(plan);
  for (std::size_t pair = 0; pair < 3; ++pair) {
    records.add_pair(pair, 3, 2);
    records.all.back().status = TrialStatus::kInvalid;
    records.all.back().reason = "candidate_not_applied: slot rope";
  }
  const Assessment assessment = assess(plan, records.all);
  EXPECT_TRUE(assessment.finished);
  EXPECT_EQ(assessment.verdict.decision, Decision::kReject);
  EXPECT_NE(assessment.verdict.reason.find("candidate_not_applied"), std::string::npos);
}

TEST(Samples, HalfPairsAndOldAttemptsAreNotCompared) {
  const BenchPlan plan = plan_with({6});
  Records records(plan);
  records.add_pair(0, 3, 2);
  records.add_pair(1, 3, 2);
  records.all.push_back(records.one(ArmRole::kBaseline, 2, 3));
  records.all.push_back(records.one(ArmRole::kCandidate, 2, 2));
  records.all.back().status = TrialStatus::kInterrupted;
  EXPECT_EQ(samples_of(pairs_of(records.all)).size(), 1U);
  EXPECT_EQ(attempts_of(records.all, 2), 1U);
  records.add_pair(2, 9, 9);
  for (std::size_t i = records.all.size() - 2; i < records.all.size(); ++i) records.all[i].attempt = 1;
  const auto samples = samples_of(pairs_of(records.all));
  ASSERT_EQ(samples.size(), 2U);
  EXPECT_GT(samples[1].baseline.wall_seconds, 5);
}

TEST(Samples, SurviveTheFileAndACrash) {
  TestFolder folder;
  const BenchPlan plan = plan_with({6});
  Records records(plan);
  records.add_pair(0, 3, 2);
  records.all[1].status = TrialStatus::kFailed;
  records.all[1].reason = "exit status 2: it's \"broken\"";
  const fs::path path = folder / "samples.jsonl";
  {
    auto file = SampleFile::open(real_file_system(), path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->append(records.all[0]).ok());
  }
  write_test_file(path, *real_file_system().read(path) + R"({"plan_sha256": "cut o)");
  EXPECT_EQ(read_samples(real_file_system(), path, plan_digest(plan))->size(), 1U);
  auto file = SampleFile::open(real_file_system(), path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->append(records.all[1]).ok());
  const auto read = read_samples(real_file_system(), path, plan_digest(plan));
  ASSERT_TRUE(read.ok()) << read.error().message;
  ASSERT_EQ(read->size(), 2U);
  for (std::size_t i = 0; i < 2; ++i) EXPECT_EQ(trial_to_json((*read)[i]), trial_to_json(records.all[i]));
  const auto foreign = read_samples(real_file_system(), path, "other");
  ASSERT_FALSE(foreign.ok());
  EXPECT_NE(foreign.error().message.find("another plan"), std::string::npos);
}

TEST(Samples, ImpossibleRecordsAreRefused) {
  const BenchPlan plan = plan_with({6});
  Records records(plan);
  const Json good = trial_to_json(records.one(ArmRole::kBaseline, 1, 3));
  for (const auto& [key, value] : {std::pair<const char*, Json>{"wall_seconds", 0},
                                   {"wall_seconds", "3"},
                                   {"arm", "third"},
                                   {"status", "fine"},
                                   {"pair", -1},
                                   {"tokens", "x"}}) {
    Json bad = good;
    bad[key] = value;
    const auto record = trial_from_json(bad, "samples.jsonl:1");
    ASSERT_FALSE(record.ok()) << key;
    EXPECT_NE(record.error().message.find(key), std::string::npos) << record.error().message;
  }
}

class SequentialReportTest : public testing::Test {
 protected:
  SequentialReportTest() : plan_(plan_with({5})), records_(plan_) { plan_.design = BenchDesign::kSequential; }
  void fill(double speedup, double memory_ratio, double loss_ratio) {
    for (std::size_t i = 0; i < 5; ++i) {
      records_.all.push_back(records_.one(ArmRole::kBaseline, i, 3));
      records_.all.push_back(records_.one(ArmRole::kCandidate, i, 3 / speedup));
      records_.all.back().sample.peak_bytes /= memory_ratio;
      *records_.all.back().sample.train_loss *= loss_ratio;
    }
  }
  BenchPlan plan_;
  Records records_;
};

TEST_F(SequentialReportTest, ClassesAndScores) {
  fill(1.5, 1.5, 1);
  const SequentialReport report = report_sequential(plan_, records_.all);
  EXPECT_EQ(report.verdict_class.rfind("STRONG", 0), 0U) << report.verdict_class;
  EXPECT_NEAR(report.efficiency_score, 1.5, 0.03);
  EXPECT_EQ(report.convergence_score, 1);
  EXPECT_NEAR(report.overall_score, report.efficiency_score, 1e-12);
}

TEST_F(SequentialReportTest, OneGainIsImprovedAndALossIsMixed) {
  fill(1.2, 1, 1);
  EXPECT_EQ(report_sequential(plan_, records_.all).verdict_class.rfind("IMPROVED", 0), 0U);
  records_.all.clear();
  fill(1.3, 0.8, 1);
  EXPECT_EQ(report_sequential(plan_, records_.all).verdict_class.rfind("MIXED OR WORSE", 0), 0U);
  records_.all.clear();
  fill(1.02, 1, 1);
  EXPECT_EQ(report_sequential(plan_, records_.all).verdict_class.rfind("NO CLEAR DIFFERENCE", 0), 0U);
}

TEST_F(SequentialReportTest, AnotherLossIsNoComparison) {
  fill(2, 2, 1.05);
  const SequentialReport report = report_sequential(plan_, records_.all);
  EXPECT_FALSE(report.loss_converged);
  EXPECT_EQ(report.overall_score, 0);
  EXPECT_NEAR(report.convergence_score, 1 - 0.04 / 0.09, 0.02);
  EXPECT_EQ(report.verdict_class.rfind("NOT THE SAME LOSS", 0), 0U);
}

TEST_F(SequentialReportTest, FailedTrialsAreCountedAndDoNotContaminate) {
  fill(1.5, 1.5, 1);
  records_.all[1].status = TrialStatus::kFailed;
  records_.all[1].sample.wall_seconds = 1000;
  const SequentialReport report = report_sequential(plan_, records_.all);
  EXPECT_EQ(report.candidate_ok, 4U);
  EXPECT_EQ(report.verdict_class.rfind("STRONG", 0), 0U);
}

TEST_F(SequentialReportTest, ProvenGainsScoreMoreThanNoisyOnes) {
  fill(1.2, 1, 1);
  const double proven = report_sequential(plan_, records_.all).efficiency_score;
  for (TrialRecord& record : records_.all)
    record.sample.wall_seconds *= std::exp(0.9 * std::sin(7.0 * static_cast<double>(record.pair) + (record.role == ArmRole::kBaseline ? 0 : 2)));
  const SequentialReport noisy = report_sequential(plan_, records_.all);
  EXPECT_GT(noisy.metrics[0].p, 0.05);
  EXPECT_LT(noisy.efficiency_score - 1, (noisy.metrics[0].improvement - 1) / 2);
  EXPECT_GT(proven, 1.05);
}

}  // namespace
}  // namespace evolora
