// Three updates of a two-element parameter against MLX 0.32.4's Adam and AdamW, with both kernel sets; and the optimizer_config block.
#include "train/optimizer.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;
using Trajectory = std::array<std::array<float, 2>, 3>;

// Parameters (1, 1), learning rate 0.01, gradients (0.5, -2), (0.25, 1), (-3, 1e-4).
void expect_trajectory(const std::string& name, const char* config, const Trajectory& expected, const KernelTable& kernels) {
  const auto options = parse_optimizer(name, Json::parse(config));
  ASSERT_TRUE(options.ok()) << options.error().message;
  Threads threads(1);
  AdamOptimizer optimizer(*options, 2, kernels);
  std::array<float, 2> parameters = {1, 1};
  const Trajectory gradients = {{{0.5F, -2.0F}, {0.25F, 1.0F}, {-3.0F, 1e-4F}}};
  for (std::size_t step = 0; step < expected.size(); ++step) {
    // Half the gradient at scale 2 is the same update.
    std::array<float, 2> half = {gradients[step][0] / 2, gradients[step][1] / 2};
    optimizer.update(parameters.data(), half.data(), 2.0F, 0.01F, threads);
    for (std::size_t i = 0; i < 2; ++i) {
      // About ten roundings per update, each of values not above 1.1; errors of earlier updates add up.
      const double tolerance = 10.0 * static_cast<double>(step + 1) * 1.1 * static_cast<double>(std::numeric_limits<float>::epsilon()) / 2;
      EXPECT_NEAR(parameters[i], expected[step][i], tolerance) << kernels.name << " step " << step << " element " << i;
    }
  }
  EXPECT_EQ(optimizer.updates_done(), 3);
  EXPECT_EQ(optimizer.state_bytes(), 2 * 2 * sizeof(float));
}

void expect_with_both(const std::string& name, const char* config, const Trajectory& expected) {
  expect_trajectory(name, config, expected, reference_kernels());
  expect_trajectory(name, config, expected, cpu_kernels());
}

TEST(AdamOptimizer, PlainAdamHasNoBiasCorrection) {
  expect_with_both("adam", "{}", {{{0.968377233F, 1.03162277F}, {0.928763449F, 1.04294097F}, {0.953323424F, 1.0531311F}}});
}

TEST(AdamOptimizer, BiasCorrection) {
  expect_with_both("adam", R"({"adam": {"bias_correction": true}})",
                   {{{0.990000069F, 1.00999999F}, {0.98067838F, 1.01266336F}, {0.985639751F, 1.01472187F}}});
}

TEST(AdamOptimizer, AdamWDecaysByOnePercentByDefault) {
  expect_with_both("adamw", R"({"adamw": {}, "muon": {}})",
                   {{{0.968277216F, 1.03152275F}, {0.928566575F, 1.04273784F}, {0.953033686F, 1.05282366F}}});
}

TEST(AdamOptimizer, EveryOptionOfAdamW) {
  expect_with_both("adamw", R"({"adamw": {"weight_decay": 0.1, "betas": [0.8, 0.95], "eps": 1e-6, "bias_correction": true}})",
                   {{{0.989000022F, 1.00900006F}, {0.978804529F, 1.01011562F}, {0.983459353F, 1.01066113F}}});
}

Error error_of(const std::string& name, const char* config) {
  const auto options = parse_optimizer(name, Json::parse(config));
  EXPECT_FALSE(options.ok()) << name << config;
  return options.ok() ? Error{} : options.error();
}

TEST(ParseOptimizer, NamesWhatIsUnknownAndTheNearest) {
  EXPECT_NE(error_of("adma", "{}").message.find("did you mean 'adam'"), std::string::npos);
  EXPECT_NE(error_of("adam", R"({"adam": {"beta": [0.9, 0.99]}})").message.find("did you mean 'betas'"), std::string::npos);
  EXPECT_NE(error_of("adam", R"({"adamm": {}})").message.find("did you mean 'adam'"), std::string::npos);
  EXPECT_EQ(error_of("muon", "{}").code, ErrorCode::kUnsupported);
  EXPECT_NE(error_of("muon", "{}").message.find("'muon'"), std::string::npos);
}

TEST(ParseOptimizer, PlainAdamHasNoWeightDecayOption) { EXPECT_EQ(error_of("adam", R"({"adam": {"weight_decay": 0.1}})").code, ErrorCode::kUsage); }

TEST(ParseOptimizer, RefusesValuesOutOfRange) {
  for (const char* config : {R"({"adam": {"betas": [0.9]}})", R"({"adam": {"betas": [0.9, 1.0]}})", R"({"adam": {"betas": "0.9"}})",
                             R"({"adam": {"eps": -1}})", R"({"adam": {"eps": "1e-8"}})", R"({"adam": {"bias_correction": 1}})", R"({"adam": 3})"}) {
    EXPECT_EQ(error_of("adam", config).code, ErrorCode::kUsage) << config;
  }
}

}  // namespace
}  // namespace evolora
