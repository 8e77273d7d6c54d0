// The verdict on synthetic samples: what each gate and claim does, and how often the whole is wrong (10,000 benches of an arm against itself, with
// and without drift) and right.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "measure/alpha_spending.h"
#include "measure/bench_plan.h"
#include "measure/power.h"
#include "measure/verdict.h"

namespace evolora {
namespace {

// One bench of synthetic trials: as many pairs as asked, order shuffled inside each.
struct World {
  double speedup = 1;       // true ratio of times
  double memory_ratio = 1;  // true ratio of peaks
  double noise = 0.01;      // sd of log time of a run
  double drift = 0;         // relative rise of time from the first trial to the last
  double memory_noise = 2e-3;
  double loss_noise = 1e-6;  // relative difference of losses inside a pair
  double loss_shift = 0;     // relative, of the candidate
};

class Bench {
 public:
  Bench(const World& world, std::uint64_t seed) : world_(world), random_(seed) {}

  std::vector<SamplePair> pairs(std::size_t count) {
    std::vector<SamplePair> out(count);
    for (std::size_t i = 0; i < count; ++i) {
      const bool candidate_first = random_() % 2 == 1;
      const double place = static_cast<double>(2 * i) / static_cast<double>(2 * count);
      const double step = 1.0 / static_cast<double>(2 * count);
      out[i].pair = i;
      const double loss = 2 + 0.1 * normal_(random_);
      fill(out[i].baseline, 1, 1, place + (candidate_first ? step : 0), loss);
      fill(out[i].candidate, world_.speedup, world_.memory_ratio, place + (candidate_first ? 0 : step),
           loss * (1 + world_.loss_shift + world_.loss_noise * normal_(random_)));
    }
    return out;
  }

 private:
  void fill(TrialSample& sample, double speedup, double memory_ratio, double place, double loss) {
    sample.wall_seconds = 30 / speedup * (1 + world_.drift * place) * std::exp(world_.noise * normal_(random_));
    sample.peak_bytes = 5e8 / memory_ratio * std::exp(world_.memory_noise * normal_(random_));
    sample.tokens = 10000;
    sample.steps = 50;
    sample.train_loss = loss;
    sample.val_loss = 1.05 * loss;
    sample.first_loss = 4;
    sample.progress = 4 - loss;
    sample.adapter_init = "abc";
  }

  World world_;
  std::mt19937_64 random_;
  std::normal_distribution<double> normal_;
};

constexpr double kAlpha = 0.05;
Verdict judge(const std::vector<SamplePair>& pairs, const VerdictRules& rules = {}, const TrialFailures& failures = {}) {
  return judge_pairs(pairs, failures, rules, {rules.alpha});
}

TEST(Verdict, FasterAndSmallerIsAccepted) {
  const Verdict verdict = judge(Bench({.speedup = 1.5, .memory_ratio = 2}, 1).pairs(8));
  EXPECT_EQ(verdict.decision, Decision::kAccept) << verdict.reason;
  EXPECT_NEAR(verdict.claims[0].ratio, 1.5, 0.03);
  EXPECT_TRUE(verdict.claims[0].interval.contains(1.5));
  EXPECT_LT(verdict.claims[0].wilcoxon_p, 0.01);
  EXPECT_NEAR(verdict.claims[1].ratio, 2, 0.03);
}

TEST(Verdict, TheOtherWayRoundIsRejected) {
  const Verdict verdict = judge(Bench({.speedup = 1 / 1.5, .memory_ratio = 0.5}, 1).pairs(8));
  EXPECT_EQ(verdict.decision, Decision::kReject);
  EXPECT_NE(verdict.reason.find("worse in speed"), std::string::npos) << verdict.reason;
}

TEST(Verdict, FasterButLargerIsRejected) {
  const Verdict verdict = judge(Bench({.speedup = 1.5, .memory_ratio = 0.8}, 1).pairs(8));
  EXPECT_EQ(verdict.decision, Decision::kReject);
  EXPECT_NE(verdict.reason.find("worse in memory"), std::string::npos) << verdict.reason;
}

TEST(Verdict, SavingMemoryAtEqualSpeedIsAccepted) {
  EXPECT_EQ(judge(Bench({.memory_ratio = 1.5, .noise = 0.005}, 1).pairs(10)).decision, Decision::kAccept);
}

TEST(Verdict, NoiseIsInconclusiveAndSaysHowManyPairs) {
  const Verdict verdict = judge(Bench({.speedup = 1.08, .noise = 0.05}, 3).pairs(6));
  EXPECT_EQ(verdict.decision, Decision::kInconclusive) << verdict.reason;
  ASSERT_TRUE(verdict.more_pairs.has_value()) << verdict.reason;
  EXPECT_GT(*verdict.more_pairs, 1U);
  EXPECT_NE(verdict.reason.find("more pairs would settle it"), std::string::npos) << verdict.reason;
}

TEST(Verdict, TheAdviceOnPairsIsEnoughMostOfTheTime) {
  const World world{.speedup = 1.06, .noise = 0.03};
  int settled = 0;
  constexpr int kRounds = 300;
  // The advice from the true numbers; from a noisy estimate of them it varies around this.
  const auto n = needed_for_t(std::log(1.06) - std::log(1.01), 0.03 * std::sqrt(2.0), kAlpha / 4, 0.8, 10000);
  ASSERT_TRUE(n.has_value());
  for (int round = 0; round < kRounds; ++round) {
    settled +=
        judge_pairs(Bench(world, 100 + static_cast<std::uint64_t>(round)).pairs(*n), {}, {}, {kAlpha}, false).decision == Decision::kAccept ? 1 : 0;
  }
  EXPECT_GE(settled, 0.8 * kRounds - 4 * std::sqrt(0.16 * kRounds));
}

TEST(Verdict, OtherLossesAreRejected) {
  const Verdict verdict = judge(Bench({.speedup = 2, .loss_shift = 0.02}, 1).pairs(8));
  EXPECT_EQ(verdict.decision, Decision::kReject);
  EXPECT_NE(verdict.reason.find("not the same training: train_loss"), std::string::npos) << verdict.reason;
}

TEST(Verdict, ALearningRateTwoPercentOffIsSeenInTheProgress) {
  std::vector<SamplePair> pairs = Bench({.speedup = 1.5}, 1).pairs(8);
  for (SamplePair& pair : pairs) {
    pair.candidate.progress = *pair.baseline.progress * 1.019;
    pair.candidate.train_loss = *pair.baseline.train_loss * 0.999;
  }
  const Verdict verdict = judge(pairs);
  EXPECT_EQ(verdict.decision, Decision::kReject);
  EXPECT_NE(verdict.reason.find("progress"), std::string::npos) << verdict.reason;
}

TEST(Verdict, UnprovenEqualityOfLossIsNotEquality) {
  const Verdict verdict = judge(Bench({.speedup = 2, .loss_noise = 0.03}, 2).pairs(6));
  EXPECT_EQ(verdict.decision, Decision::kInconclusive);
  EXPECT_NE(verdict.reason.find("not shown equal"), std::string::npos) << verdict.reason;
}

TEST(Verdict, ADroppedSampleIsSeenInTheTokens) {
  std::vector<SamplePair> pairs = Bench({.speedup = 1.5}, 1).pairs(8);
  pairs[5].candidate.tokens = 9990;
  const Verdict verdict = judge(pairs);
  EXPECT_EQ(verdict.decision, Decision::kReject);
  EXPECT_NE(verdict.reason.find("9990 of the candidate, 10000 of the baseline in pair 5"), std::string::npos) << verdict.reason;
}

TEST(Verdict, AnotherInitialAdapterIsRejected) {
  std::vector<SamplePair> pairs = Bench({.speedup = 1.5}, 1).pairs(8);
  pairs[2].candidate.adapter_init = "def";
  EXPECT_EQ(judge(pairs).decision, Decision::kReject);
}

TEST(Verdict, InvalidAndFailedTrialsCount) {
  const std::vector<SamplePair> pairs = Bench({.speedup = 2}, 1).pairs(8);
  EXPECT_EQ(judge(pairs, {}, {.candidate_invalid = 1, .candidate_reason = "candidate_not_applied"}).decision, Decision::kReject);
  EXPECT_EQ(judge(pairs, {}, {.baseline_invalid = 1, .baseline_reason = "baseline_not_plain"}).decision, Decision::kInconclusive);
  EXPECT_EQ(judge(pairs, {}, {.candidate_failed = 1, .candidate_reason = "exit status 2"}).decision, Decision::kInconclusive);
  EXPECT_EQ(judge(pairs, {}, {.candidate_failed = 9, .candidate_reason = "exit status 2"}).decision, Decision::kReject);
  EXPECT_EQ(judge(pairs, {}, {.baseline_failed = 1, .baseline_reason = "exit status 2"}).decision, Decision::kAccept);
}

TEST(Verdict, FewPairsAreNeverAccepted) {
  for (std::size_t count = 0; count < kFewestPairs; ++count) {
    EXPECT_EQ(judge(Bench({.speedup = 2, .memory_ratio = 2, .noise = 1e-4}, 1).pairs(count)).decision, Decision::kInconclusive) << count;
  }
}

TEST(Verdict, WhatIsNotReportedIsSaid) {
  std::vector<SamplePair> pairs = Bench({.speedup = 2}, 1).pairs(8);
  for (SamplePair& pair : pairs) pair.candidate.val_loss.reset();
  const Verdict verdict = judge(pairs);
  EXPECT_EQ(verdict.decision, Decision::kAccept);
  EXPECT_NE(verdict.reason.find("not checked: val_loss"), std::string::npos) << verdict.reason;
}

// ---- error rates of the whole

struct Rates {
  double accept = 0;
  double worse = 0;  // REJECT because something is said to be worse
};

Rates rates_against_itself(const World& world, const VerdictRules& rules, std::size_t count, int rounds) {
  Rates rates;
  for (int round = 0; round < rounds; ++round) {
    const Verdict verdict = judge_pairs(Bench(world, static_cast<std::uint64_t>(round)).pairs(count), {}, rules, {rules.alpha}, false);
    rates.accept += verdict.decision == Decision::kAccept ? 1.0 / rounds : 0;
    rates.worse += verdict.reason.find("worse in") != std::string::npos ? 1.0 / rounds : 0;
  }
  return rates;
}

TEST(VerdictErrorRates, TenThousandBenchesOfAnArmAgainstItself) {
  // Without any margin every significant difference counts: the hardest case, in which the rates must still add up to alpha.
  constexpr int kRounds = 10000;
  const double allowed = kAlpha + 4 * std::sqrt(kAlpha * (1 - kAlpha) / kRounds);
  const VerdictRules no_margins{.min_effect = 0, .regression_margin = 0};
  for (const double drift : {0.0, 0.03, 0.2}) {
    for (const std::size_t pairs : {5U, 10U}) {
      const Rates strict = rates_against_itself({.drift = drift}, no_margins, pairs, kRounds);
      EXPECT_LE(strict.accept + strict.worse, allowed) << "drift " << drift << ", " << pairs << " pairs";
      const Rates usual = rates_against_itself({.noise = 0.03, .drift = drift}, {}, pairs, kRounds);
      EXPECT_LE(usual.accept + usual.worse, allowed) << "drift " << drift << ", " << pairs << " pairs";
    }
  }
}

TEST(VerdictErrorRates, StoppingEarlyDoesNotRaiseThem) {
  constexpr int kRounds = 10000;
  const std::vector<std::size_t> looks = {6, 8, 11, 15, 20};
  std::vector<double> fractions;
  for (const std::size_t n : looks) fractions.push_back(static_cast<double>(n) / 20);
  const std::vector<double> levels = spending_levels(kAlpha, fractions);
  const VerdictRules no_margins{.min_effect = 0, .regression_margin = 0};
  int wrong = 0;
  int wrong_by_peeking = 0;
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<SamplePair> pairs = Bench({.drift = 0.03}, static_cast<std::uint64_t>(round)).pairs(20);
    bool spent = false;
    bool peeked = false;
    for (std::size_t look = 0; look < looks.size(); ++look) {
      const std::span<const SamplePair> seen(pairs.data(), looks[look]);
      const auto decides = [&](double level) {
        const Verdict verdict = judge_pairs(seen, {}, no_margins, {level}, false);
        return verdict.decision == Decision::kAccept || verdict.reason.find("worse in") != std::string::npos;
      };
      spent = spent || decides(levels[look]);
      peeked = peeked || decides(kAlpha);
    }
    wrong += spent ? 1 : 0;
    wrong_by_peeking += peeked ? 1 : 0;
  }
  EXPECT_LE(wrong / double{kRounds}, kAlpha + 4 * std::sqrt(kAlpha * (1 - kAlpha) / kRounds));
  EXPECT_GT(wrong_by_peeking / double{kRounds}, kAlpha + 4 * std::sqrt(kAlpha * (1 - kAlpha) / kRounds))
      << "peeking without spending should do harm; if not, this test sees nothing";
}

// Everything that is not shown is taken to be one standard error better than it looks: a gate's difference, a claim's gain.
TEST(Verdict, PairsToAcceptAreOptimisticByOneStandardError) {
  constexpr std::size_t kPairs = 16;
  Verdict verdict{.pairs = kPairs, .level = kAlpha};
  verdict.claims = {{.name = "speed", .better = true, .not_worse = true}, {.name = "memory", .not_worse = true}};
  EXPECT_EQ(pairs_to_accept(verdict, {}, "speed"), kPairs);
  EXPECT_EQ(pairs_to_accept(verdict, {}, ""), kPairs);

  Gate gate{.name = "progress", .state = GateState::kOpen, .n = kPairs, .mean = -0.008, .sd = 0.012};  // standard error 0.003
  verdict.gates = {gate};
  EXPECT_EQ(pairs_to_accept(verdict, {}, "speed"), needed_for_tost(0.005, 0.01, 0.012, kGateAlpha, 0.8, 10000));
  verdict.gates[0].mean = 0.0131;  // more than one standard error outside
  EXPECT_FALSE(pairs_to_accept(verdict, {}, "speed").has_value());
  verdict.gates[0].mean = 0.0125;
  EXPECT_TRUE(pairs_to_accept(verdict, {}, "speed").has_value());
  verdict.gates[0].state = GateState::kFail;
  EXPECT_FALSE(pairs_to_accept(verdict, {}, "speed").has_value());

  verdict.gates.clear();
  Claim& memory = verdict.claims[1];
  memory.log_sd = 0.04;  // standard error 0.01
  memory.log_mean = std::log(1.01) + 0.02;
  EXPECT_EQ(pairs_to_accept(verdict, {}, "memory"), needed_for_t(0.03, 0.04, kAlpha / 2, 0.8, 10000));
  verdict.claims[0].better = false;
  EXPECT_EQ(pairs_to_accept(verdict, {}, "memory"), needed_for_t(0.03, 0.04, kAlpha / 4, 0.8, 10000));
  memory.log_mean = std::log(1.01) - 0.011;
  EXPECT_FALSE(pairs_to_accept(verdict, {}, "memory").has_value());
  verdict.claims[0].better = true;
  memory.not_worse = false;
  memory.log_mean = std::log(0.98) - 0.011;
  EXPECT_FALSE(pairs_to_accept(verdict, {}, "speed").has_value());
}

// Trainings that differ by just the margin are called equal in 5 % of benches, however often these are looked at.
TEST(VerdictErrorRates, LooksTogetherCallUnequalTrainingsEqualAsOftenAsOne) {
  constexpr int kRounds = 4000;
  BenchPlan plan;
  plan.looks = {10, 20, 40};
  const std::vector<LookLevels> levels = look_levels(plan);
  const VerdictRules rules{.loss_margin = 0.0099};
  const auto accepted = [&](const std::vector<SamplePair>& pairs, std::size_t look, LookLevels at) {
    return judge_pairs({pairs.data(), plan.looks[look]}, {}, rules, at, false).decision == Decision::kAccept;
  };
  int wrong = 0;
  int wrong_by_peeking = 0;
  for (int round = 0; round < kRounds; ++round) {
    const World world{.speedup = 1.5, .loss_noise = 0.004, .loss_shift = 0.0099};
    const std::vector<SamplePair> pairs = Bench(world, static_cast<std::uint64_t>(round)).pairs(40);
    bool spent = false;
    bool peeked = false;
    for (std::size_t look = 0; look < plan.looks.size(); ++look) {
      spent = spent || accepted(pairs, look, levels[look]);
      peeked = peeked || accepted(pairs, look, {levels[look].claim});
    }
    wrong += spent ? 1 : 0;
    wrong_by_peeking += peeked ? 1 : 0;
  }
  const double allowed = kGateAlpha + 4 * std::sqrt(kGateAlpha * (1 - kGateAlpha) / kRounds);
  EXPECT_LE(wrong / double{kRounds}, allowed);
  EXPECT_GT(wrong_by_peeking / double{kRounds}, allowed) << "full levels at every look should do harm; if not, this test sees nothing";
}

TEST(VerdictErrorRates, PowerIsAsPredicted) {
  // Speed alone can be claimed (memory is the same), so Holm holds it against half of the level.
  const World world{.speedup = 1.04, .noise = 0.02};
  constexpr std::size_t kPairs = 12;
  constexpr int kRounds = 4000;
  const double predicted = power_one_sided_t(std::log(1.04) - std::log(1.01), 0.02 * std::sqrt(2.0), kPairs, kAlpha / 4);
  const double found = rates_against_itself(world, {}, kPairs, kRounds).accept;
  EXPECT_NEAR(found, predicted, 4 * std::sqrt(predicted * (1 - predicted) / kRounds));
}

}  // namespace
}  // namespace evolora
