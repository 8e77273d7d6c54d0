// Schedules against values computed by MLX 0.32.4 (build_schedule of mlx-lm 0.32.2, one call per step).
#include "train/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// Both sides do the same handful of fp32 operations; cos and pow may differ by an ulp of a value not above the peak, and so may fused multiply-adds.
void expect_schedule(const char* schedule, double peak, const std::vector<float>& expected) {
  const auto rate = LearningRate::from_schedule(Json::parse(schedule));
  ASSERT_TRUE(rate.ok()) << rate.error().message;
  const double tolerance = 4 * static_cast<double>(std::numeric_limits<float>::epsilon()) * peak;
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NEAR(rate->at(static_cast<std::int64_t>(step)), expected[step], tolerance) << "step " << step;
  }
}

TEST(LearningRate, ConstantIsRoundedToFloatOnce) {
  const LearningRate rate = LearningRate::constant(1e-5);
  EXPECT_EQ(rate.at(0), 1e-5F);
  EXPECT_EQ(rate.at(1000000), 1e-5F);
}

TEST(LearningRate, CosineWithWarmup) {
  expect_schedule(R"({"name":"cosine_decay","arguments":[1e-3,4,1e-5],"warmup":2,"warmup_init":1e-7})", 1e-3,
                  {1.00000001e-07F, 0.000500050024F, 0.00100000005F, 0.000999999931F, 0.000855017861F, 0.000504999945F, 0.000154982146F,
                   9.99999975e-06F, 9.99999975e-06F});
}

TEST(LearningRate, StepDecay) {
  expect_schedule(R"({"name":"step_decay","arguments":[1e-2,0.5,3]})", 1e-2,
                  {0.00999999978F, 0.00999999978F, 0.00999999978F, 0.00499999989F, 0.00499999989F, 0.00499999989F, 0.00249999994F});
}

TEST(LearningRate, ExponentialDecay) {
  expect_schedule(R"({"name":"exponential_decay","arguments":[1e-2,0.9]})", 1e-2,
                  {0.00999999978F, 0.00899999961F, 0.00809999928F, 0.00728999916F, 0.00656099897F, 0.00590489898F});
}

TEST(LearningRate, LinearWithWarmupFromZero) {
  expect_schedule(R"({"name":"linear_schedule","arguments":[1e-3,1e-4,3],"warmup":1})", 1e-3,
                  {0.0F, 0.00100000005F, 0.00100000005F, 0.000700000033F, 0.000400000019F, 0.000100000005F, 0.000100000005F});
}

TEST(LearningRate, BadBlocksAreUsageErrorsThatSayWhy) {
  const auto message = [](const char* schedule) {
    const auto rate = LearningRate::from_schedule(Json::parse(schedule));
    EXPECT_FALSE(rate.ok()) << schedule;
    if (rate.ok()) return std::string();
    EXPECT_EQ(rate.error().code, ErrorCode::kUsage);
    return rate.error().message;
  };
  EXPECT_NE(message(R"({"name":"cosin_decay","arguments":[1,2]})").find("did you mean 'cosine_decay'"), std::string::npos);
  EXPECT_NE(message(R"({"name":"cosine_decay","arguments":[1]})").find("[init, decay_steps, end = 0]"), std::string::npos);
  EXPECT_NE(message(R"({"name":"cosine_decay","arguments":[1,0]})").find("decay_steps"), std::string::npos);
  EXPECT_NE(message(R"({"name":"step_decay","arguments":[1,0.5,2.5]})").find("step_size"), std::string::npos);
  EXPECT_NE(message(R"({"name":"cosine_decay","arguments":[1,2],"warmpu":3})").find("did you mean 'warmup'"), std::string::npos);
  EXPECT_NE(message(R"({"name":"cosine_decay","arguments":[1,2],"warmup":-1})").find("warmup"), std::string::npos);
  EXPECT_NE(message(R"({"arguments":[1,2]})").find("'name'"), std::string::npos);
  EXPECT_NE(message("3").find("block"), std::string::npos);
}

}  // namespace
}  // namespace evolora
