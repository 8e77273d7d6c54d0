// Greedy choice, what each filter keeps, frequencies of draws, reproducibility.
#include "train/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

namespace evolora {
namespace {

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)) + 3.0F);  // a shift changes nothing
  return logits;
}

std::map<std::int32_t, int> draw(const SamplingOptions& options, const std::vector<float>& logits, int draws) {
  Sampler sampler(options);
  std::map<std::int32_t, int> counts;
  for (int i = 0; i < draws; ++i) ++counts[sampler.sample(logits)];
  return counts;
}

std::set<std::int32_t> support(const SamplingOptions& options, const std::vector<double>& probabilities) {
  std::set<std::int32_t> tokens;
  for (const auto& [token, count] : draw(options, logits_of(probabilities), 5000)) tokens.insert(token);
  return tokens;
}

const std::vector<double> kProbabilities = {0.1, 0.4, 0.05, 0.3, 0.15};

TEST(Sampler, TemperatureZeroTakesTheLargestAndTheFirstOfEquals) {
  Sampler sampler({});
  EXPECT_EQ(sampler.sample(logits_of(kProbabilities)), 1);
  EXPECT_EQ(sampler.sample(std::vector<float>{0.0F, 2.0F, 2.0F}), 1);
}

TEST(Sampler, DrawsFollowTheProbabilities) {
  constexpr int kDraws = 40000;
  const auto counts = draw({.temperature = 1}, logits_of(kProbabilities), kDraws);
  for (std::size_t token = 0; token < kProbabilities.size(); ++token) {
    const double p = kProbabilities[token];
    // Five standard deviations of a binomial count: a chance below 1e-6 to fail with another seed, and the seed is fixed.
    const double tolerance = 5 * std::sqrt(kDraws * p * (1 - p));
    EXPECT_NEAR(counts.at(static_cast<std::int32_t>(token)), kDraws * p, tolerance) << token;
  }
}

TEST(Sampler, TemperatureSharpens) {
  constexpr int kDraws = 20000;
  const auto counts = draw({.temperature = 0.5}, logits_of(kProbabilities), kDraws);
  double total = 0;
  for (const double p : kProbabilities) total += p * p;  // p^(1/T)
  const double expected = 0.4 * 0.4 / total;
  EXPECT_NEAR(counts.at(1), kDraws * expected, 5 * std::sqrt(kDraws * expected * (1 - expected)));
}

TEST(Sampler, TopPKeepsTheSmallestSetWithThatMass) {
  EXPECT_EQ(support({.temperature = 1, .top_p = 0.39}, kProbabilities), (std::set<std::int32_t>{1}));
  EXPECT_EQ(support({.temperature = 1, .top_p = 0.5}, kProbabilities), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(support({.temperature = 1, .top_p = 0.8}, kProbabilities), (std::set<std::int32_t>{1, 3, 4}));
  EXPECT_EQ(support({.temperature = 1, .top_p = 1.0}, kProbabilities).size(), 5U);
}

TEST(Sampler, MinPIsRelativeToTheMostProbable) {
  EXPECT_EQ(support({.temperature = 1, .min_p = 0.3}, kProbabilities), (std::set<std::int32_t>{1, 3, 4}));
  EXPECT_EQ(support({.temperature = 1, .min_p = 1.0}, kProbabilities), (std::set<std::int32_t>{1}));
}

TEST(Sampler, TopKKeepsThatMany) {
  EXPECT_EQ(support({.temperature = 1, .top_k = 2}, kProbabilities), (std::set<std::int32_t>{1, 3}));
  EXPECT_EQ(support({.temperature = 1, .top_k = 99}, kProbabilities).size(), 5U);
}

TEST(Sampler, SameSeedSameTokensOtherSeedOthers) {
  const auto sequence = [](std::uint64_t seed) {
    Sampler sampler({.temperature = 1, .seed = seed});
    std::vector<std::int32_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sampler.sample(logits_of(kProbabilities)));
    return tokens;
  };
  EXPECT_EQ(sequence(1), sequence(1));
  EXPECT_NE(sequence(1), sequence(2));
}

TEST(CheckSampling, NamesTheFlag) {
  const auto message = [](const SamplingOptions& options) {
    const Status status = check_sampling(options);
    EXPECT_FALSE(status.ok());
    return status.error().message;
  };
  EXPECT_NE(message({.temperature = -1}).find("--temp"), std::string::npos);
  EXPECT_NE(message({.temperature = NAN}).find("--temp"), std::string::npos);
  EXPECT_NE(message({.top_p = 1.5}).find("--top-p"), std::string::npos);
  EXPECT_NE(message({.min_p = -0.1}).find("--min-p"), std::string::npos);
  EXPECT_NE(message({.top_k = -1}).find("--top-k"), std::string::npos);
  EXPECT_TRUE(check_sampling({}).ok());
}

}  // namespace
}  // namespace evolora
