// Estimators against scipy and statsmodels: 220 data sets with their answers in tests/data/statistics_golden.json (written by
// tests/oracle/statistics_cases.py), and properties that need no peer.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "measure/alpha_spending.h"
#include "measure/bootstrap.h"
#include "measure/distributions.h"
#include "measure/estimators.h"
#include "measure/power.h"
#include "measure/wilcoxon.h"

namespace evolora {
namespace {

using nlohmann::json;

const json& golden() {
  static const json value = [] {
    const auto text = real_file_system().read(fs::path(EVOLORA_SOURCE_DIR) / "tests/data/statistics_golden.json");
    EXPECT_TRUE(text.ok());
    return json::parse(*text);
  }();
  return value;
}

// Both sides are fp64 sums of at most 40 terms (2e-16 * 40 relative to the largest) whose differences may cancel three digits, and distribution
// functions good to 1e-12: 1e-9 leaves room for neither a wrong formula nor a wrong degree of freedom. p-values below 1e-300 have no digits.
constexpr double kRelative = 1e-9;
void expect_same(double got, double expected, const std::string& what) {
  EXPECT_NEAR(got, expected, kRelative * std::abs(expected) + 1e-300) << what;
}

TEST(Statistics, AgreesWithScipyOnManyDataSets) {
  const double margin = golden()["margin"];
  ASSERT_GE(golden()["sets"].size(), 200U);
  for (std::size_t i = 0; i < golden()["sets"].size(); ++i) {
    const json& set = golden()["sets"][i];
    const json& expected = set["expected"];
    const std::string at = " of set " + std::to_string(i);
    const std::vector<double> x = set["x"];
    const std::vector<double> y = set["y"];
    const std::vector<double> distribution = set["distribution"];
    const Summary summary = summarize(x);
    expect_same(summary.mean, expected["mean"], "mean" + at);
    expect_same(summary.sd, expected["sd"], "sd" + at);
    const TTest t = one_sample_t(x, margin, 0.9);
    expect_same(t.t, expected["t"], "t" + at);
    expect_same(t.p, expected["p"], "p" + at);
    expect_same(t.p_greater, expected["p_greater"], "p_greater" + at);
    // Ends of intervals are differences: relative to their parts.
    const double size = std::abs(t.mean) + t.interval.half_width();
    EXPECT_NEAR(t.interval.low, expected["low90"].get<double>(), kRelative * size) << at;
    EXPECT_NEAR(t.interval.high, expected["high90"].get<double>(), kRelative * size) << at;
    const TTest welch = welch_t(x, y);
    expect_same(welch.t, expected["welch_t"], "welch t" + at);
    expect_same(welch.df, expected["welch_df"], "welch df" + at);
    expect_same(welch.p, expected["welch_p"], "welch p" + at);
    const double reach = std::abs(welch.mean) + welch.interval.half_width();
    EXPECT_NEAR(welch.interval.low, expected["welch_low"].get<double>(), kRelative * reach) << at;
    EXPECT_NEAR(welch.interval.high, expected["welch_high"].get<double>(), kRelative * reach) << at;
    expect_same(tost(x, -margin, margin).p, expected["tost_p"], "tost" + at);
    expect_same(wilcoxon_signed_rank(x).p, expected["wilcoxon_p"], "wilcoxon" + at);
    const Interval bca = bca_interval(x, distribution);
    const double spread = std::abs(bca.low) + std::abs(bca.high);
    EXPECT_NEAR(bca.low, expected["bca_low"].get<double>(), kRelative * spread) << "bca" << at;
    EXPECT_NEAR(bca.high, expected["bca_high"].get<double>(), kRelative * spread) << "bca" << at;
  }
}

TEST(Statistics, HolmAgreesWithStatsmodels) {
  for (const json& set : golden()["holm"]) {
    const std::vector<double> p = set["p"];
    const std::vector<double> adjusted = holm_adjusted(p);
    for (std::size_t i = 0; i < p.size(); ++i) expect_same(adjusted[i], set["adjusted"][i], "holm");
  }
}

TEST(Statistics, PowerAgreesWithStatsmodels) {
  for (const json& set : golden()["power"]) {
    const double power = power_one_sided_t(set["effect"], 1, set["n"], set["alpha"]);
    // 1 - cdf: near power 0 only the absolute error is bounded.
    EXPECT_NEAR(power, set["power"].get<double>(), 1e-8) << set.dump();
  }
}

TEST(Statistics, NeededPairsAreTheFirstThatReachThePower) {
  const auto n = needed_for_t(0.02, 0.03, 0.025, 0.8, 10000);
  ASSERT_TRUE(n.has_value());
  EXPECT_GE(power_one_sided_t(0.02, 0.03, *n, 0.025), 0.8);
  EXPECT_LT(power_one_sided_t(0.02, 0.03, *n - 1, 0.025), 0.8);
  EXPECT_FALSE(needed_for_t(1e-6, 0.03, 0.025, 0.8, 10000).has_value());
  EXPECT_FALSE(needed_for_t(-0.1, 0.03, 0.025, 0.8, 10000).has_value());
  EXPECT_FALSE(needed_for_tost(0.01, 0.01, 0.001, 0.05, 0.8, 10000).has_value());
  EXPECT_EQ(needed_for_tost(0.0, 0.01, 0.0, 0.05, 0.8, 10000), std::optional<std::size_t>(2));
}

// Share of successes among `rounds`; four standard errors of a proportion are exceeded once in 16,000 times, and the generator's seed is fixed.
double four_standard_errors(double p, int rounds) { return 4 * std::sqrt(p * (1 - p) / rounds); }

TEST(Statistics, TostPowerIsWhatSimulationFinds) {
  std::mt19937_64 random(7);
  std::normal_distribution<double> normal;
  constexpr int kRounds = 4000;
  for (const double difference : {0.0, 0.004}) {
    for (const std::size_t n : {8U, 20U}) {
      int found = 0;
      for (int round = 0; round < kRounds; ++round) {
        std::vector<double> x(n);
        for (double& value : x) value = difference + 0.01 * normal(random);
        found += tost(x, -0.01, 0.01).equivalent ? 1 : 0;
      }
      const double predicted = power_tost(difference, 0.01, 0.01, n, 0.05);
      const double share = static_cast<double>(found) / kRounds;
      // The approximation is a lower bound that is up to 0.03 low for few observations.
      EXPECT_GE(share, predicted - four_standard_errors(std::max(0.01, predicted), kRounds)) << n << " " << difference;
      EXPECT_LE(share, predicted + 0.03 + four_standard_errors(0.5, kRounds)) << n << " " << difference;
    }
  }
}

TEST(Statistics, IntervalsCoverAsOftenAsTheySay) {
  std::mt19937_64 random(11);
  std::normal_distribution<double> normal;
  constexpr int kRounds = 2000;
  int t_covers = 0;
  int bca_covers = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> x(20);
    for (double& value : x) value = 1 + normal(random);
    t_covers += one_sample_t(x).interval.contains(1) ? 1 : 0;
    bca_covers += bca_interval(x, bootstrap_means(x, 500, static_cast<std::uint64_t>(round))).contains(1) ? 1 : 0;
  }
  EXPECT_NEAR(t_covers / double{kRounds}, 0.95, four_standard_errors(0.95, kRounds));
  // BCa of 20 observations covers about 92 %: known to be narrow, and why it only stands beside the t interval.
  EXPECT_NEAR(bca_covers / double{kRounds}, 0.93, 0.02 + four_standard_errors(0.93, kRounds));
}

TEST(Statistics, BootstrapIsSeeded) {
  const std::vector<double> x = {1, 2, 4, 8, 16};
  EXPECT_EQ(bootstrap_means(x, 50, 3), bootstrap_means(x, 50, 3));
  EXPECT_NE(bootstrap_means(x, 50, 3), bootstrap_means(x, 50, 4));
}

TEST(Statistics, ConstantSamplesHaveExactAnswers) {
  const std::vector<double> same = {0.5, 0.5, 0.5};
  EXPECT_EQ(one_sample_t(same, 0.1).p_greater, 0);
  EXPECT_EQ(one_sample_t(same, 0.1).p_less, 1);
  EXPECT_EQ(one_sample_t(same, 0.5).p, 1);
  EXPECT_TRUE(tost(same, 0.4, 0.6).equivalent);
  EXPECT_FALSE(tost(same, 0.6, 0.7).equivalent);
  EXPECT_EQ(bca_interval(same, bootstrap_means(same, 100, 1)).low, 0.5);
  EXPECT_EQ(wilcoxon_signed_rank(std::vector<double>{0, 0}).p, 1);
}

TEST(Statistics, BoundariesAreThePublishedOnes) {
  // Two-sided alpha 0.05, five equally spaced looks, Lan-DeMets O'Brien-Fleming: 4.877, 3.357, 2.680, 2.290, 2.031 (Reboussin et al. 2000, to four
  // figures).
  const std::vector<double> fractions = {0.2, 0.4, 0.6, 0.8, 1.0};
  const std::vector<double> expected = {4.877, 3.357, 2.680, 2.290, 2.031};
  const std::vector<double> levels = spending_levels(0.05, fractions);
  for (std::size_t i = 0; i < levels.size(); ++i) EXPECT_NEAR(-normal_quantile(levels[i] / 2), expected[i], 0.0006) << i;
  // Its Pocock-like sister: 2.438, 2.427, 2.410, 2.397, 2.386.
  const std::vector<double> pocock = spending_levels(0.05, fractions, pocock_spent);
  const std::vector<double> even = {2.438, 2.427, 2.410, 2.397, 2.386};
  for (std::size_t i = 0; i < pocock.size(); ++i) EXPECT_NEAR(-normal_quantile(pocock[i] / 2), even[i], 0.0006) << i;
  const std::vector<double> once = {1.0};
  EXPECT_NEAR(spending_levels(0.05, once, pocock_spent)[0], 0.05, 1e-9);
  EXPECT_NEAR(spending_levels(0.05, once)[0], 0.05, 1e-9);
}

TEST(Statistics, LooksTogetherSpendAlpha) {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  const std::vector<std::size_t> looks = {6, 8, 11, 15, 20, 27, 40};
  std::vector<double> fractions;
  for (const std::size_t n : looks) fractions.push_back(static_cast<double>(n) / 40);
  const std::vector<double> levels = spending_levels(0.05, fractions);
  constexpr int kRounds = 20000;
  int crossed = 0;
  for (int round = 0; round < kRounds; ++round) {
    double sum = 0;
    std::size_t n = 0;
    for (std::size_t look = 0; look < looks.size(); ++look) {
      for (; n < looks[look]; ++n) sum += normal(random);
      if (2 * normal_cdf(-std::abs(sum) / std::sqrt(static_cast<double>(n))) > levels[look]) continue;
      ++crossed;
      break;
    }
  }
  EXPECT_NEAR(crossed / double{kRounds}, 0.05, four_standard_errors(0.05, kRounds));
}

TEST(Statistics, EndingWhenPreciseEnoughSpendsNoMoreThanAlpha) {
  std::mt19937_64 random(9);
  std::normal_distribution<double> normal;
  const std::vector<double> looks = {6, 8, 10, 13, 17, 22, 29, 40};
  std::vector<double> times;
  for (const double n : looks) times.push_back(n / 40);
  const std::vector<double> levels = spending_levels(0.05, times);
  constexpr int kRounds = 20000;
  int crossed = 0;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<double> x;
    for (std::size_t look = 0; look < looks.size(); ++look) {
      while (static_cast<double>(x.size()) < looks[look]) x.push_back(normal(random));
      const TTest test = one_sample_t(x);
      const bool ends = test.interval.half_width() < 0.55;  // after about 16 observations
      if (test.p <= levels[look]) {
        ++crossed;
        break;
      }
      if (ends) break;
    }
  }
  EXPECT_LE(crossed / double{kRounds}, 0.05 + four_standard_errors(0.05, kRounds));
}

}  // namespace
}  // namespace evolora
