// The configuration file: our keys, OpenEvolve's keys, and that no key is ever ignored.
#include "evolve/llm/llm_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "evolve/llm/config_keys.h"

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class LlmConfigTest : public testing::Test {
 protected:
  Result<LlmConfig> read(const std::string& yaml) {
    write_test_file(folder_ / "c.yaml", yaml);
    return read_llm_config(real_file_system(), folder_ / "c.yaml");
  }
  std::string refusal(const std::string& yaml) {
    const auto config = read(yaml);
    return config.ok() ? "accepted" : config.error().message.substr(folder_.path().string().size() + 1);
  }
  static std::string with(const std::string& more) { return "llm: {api_base: 'https://h/v1', name: m}\n" + more; }
  TestFolder folder_;
};

TEST_F(LlmConfigTest, OurKeys) {
  const auto config = read(R"(
llm:
  api_base: https://models.example/v1/
  api_key_env: MODELS_KEY
  models:
    - {name: big, weight: 0.8, prompt_price: 3, completion_price: 15, temperature: 1.0}
    - {name: small, weight: 0.2, prompt_price: 0.1, completion_price: 0.25, max_tokens: 100}
  temperature: 0.4
  top_p: 0.9
  max_tokens: 2000
  timeout: 30
  retries: 5
  retry_delay: 1.5
  random_seed: 7
prompt: {num_top_programs: 1, system_message: Prefer AVX2., max_artifact_bytes: 100, template_dir: mine}
operators: {diff: 3, repair: 1}
budget: {tokens: 1000000, dollars: 2.5}
)");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->endpoint.api_base, "https://models.example/v1");
  EXPECT_EQ(config->api_key_env, "MODELS_KEY");
  const auto& models = config->proposer.models;
  ASSERT_EQ(models.size(), 2U);
  EXPECT_EQ(models[0].temperature, 1.0);
  EXPECT_EQ(models[0].max_tokens, 2000);
  EXPECT_EQ(models[1].temperature, 0.4);
  EXPECT_EQ(models[1].top_p, 0.9);
  EXPECT_EQ(models[1].max_tokens, 100);
  EXPECT_EQ(models[1].weight, 0.2);
  EXPECT_EQ(config->endpoint.prices.at("big").prompt, 3'000'000);
  EXPECT_EQ(config->endpoint.prices.at("big").completion, 15'000'000);
  EXPECT_EQ(config->endpoint.prices.at("small").completion, 250'000);
  EXPECT_EQ(config->endpoint.timeout_seconds, 30);
  EXPECT_EQ(config->endpoint.retries, 5);
  EXPECT_EQ(config->endpoint.retry_delay_seconds, 1.5);
  EXPECT_EQ(config->proposer.random_seed, 7);
  EXPECT_EQ(config->proposer.prompt.instructions, "Prefer AVX2.");
  EXPECT_EQ(config->proposer.prompt.max_artifact_bytes, 100);
  EXPECT_EQ(config->template_folder, folder_ / "mine");
  EXPECT_EQ(config->proposer.operators, (std::map<LlmOperator, double>{{LlmOperator::kDiff, 3}, {LlmOperator::kRepair, 1}}));
  EXPECT_EQ(config->budget.tokens, 1'000'000);
  EXPECT_EQ(config->budget.money, 2'500'000'000'000);
}

TEST_F(LlmConfigTest, AnOpenEvolveFile) {
  const auto config = read(R"(
max_iterations: 50
random_seed: 42
diff_based_evolution: true
full_rewrite_probability: 0.25
max_code_length: 20000
early_stopping_patience: 20
llm:
  primary_model: qwen
  primary_model_weight: 0.8
  secondary_model: coder
  secondary_model_weight: 0.2
  api_base: http://localhost:8080/v1
  api_key: ${LOCAL_KEY}
  temperature: 0.7
  provider: openai
prompt:
  system_message: You write kernels.
  num_top_programs: 3
  use_template_stochasticity: false
database: {num_islands: 4, migration_interval: 10, exploration_ratio: 0.2, log_prompts: true}
evaluator: {parallel_evaluations: 1, cascade_evaluation: true, use_llm_feedback: no}
)");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->search.evaluations, 50);
  EXPECT_EQ(config->search.seed, 42);
  EXPECT_EQ(config->search.islands, 4);
  EXPECT_EQ(config->search.migration_interval, 10);
  EXPECT_EQ(config->search.stagnation, 20);
  EXPECT_EQ(config->search.explore, 0.2);
  EXPECT_EQ(config->api_key_env, "LOCAL_KEY");
  EXPECT_EQ(config->proposer.models[1].name, "coder");
  EXPECT_EQ(config->proposer.models[1].weight, 0.2);
  EXPECT_EQ(config->proposer.operators, (std::map<LlmOperator, double>{{LlmOperator::kDiff, 0.75}, {LlmOperator::kRewrite, 0.25}}));
  EXPECT_EQ(config->proposer.max_source_bytes, 20000);
}

TEST_F(LlmConfigTest, KeysThatWouldDoNothingAreRefusedByNameAndLine) {
  EXPECT_THAT(refusal(with("database:\n  num_islands: 3\n  feature_bins: 5\n")),
              StartsWith("c.yaml:4: database.feature_bins: this key would do nothing here: the grid's axes"));
  EXPECT_THAT(refusal(with("checkpoint_interval: 10\n")), HasSubstr("checkpoint_interval: this key would do nothing here"));
  EXPECT_THAT(refusal(with("evaluator: {parallel_evaluations: 4}\n")), HasSubstr("evaluator.parallel_evaluations: expected 1, got 4"));
  EXPECT_THAT(refusal("llm:\n  api_base: https://h/v1\n  models:\n    - {name: m, api_base: 'https://x/v1'}\n"), HasSubstr("llm.models[].api_base"));
  EXPECT_THAT(refusal(with("databse: {num_islands: 3}\n")), HasSubstr("databse: unknown key; did you mean 'database'?"));
  EXPECT_THAT(refusal("llm: {api_bse: 'https://h/v1', name: m}\n"), HasSubstr("llm.api_bse: unknown key; did you mean 'api_base'?"));
  EXPECT_THAT(refusal(with("prompt: {num_top_program: 1}\n")), HasSubstr("did you mean 'num_top_programs'?"));
}

TEST_F(LlmConfigTest, AWeightWithoutItsModelIsRefused) {
  EXPECT_THAT(refusal("llm: {api_base: 'https://h/v1', name: m, primary_model_weight: 1}\n"), HasSubstr("weight of a model that is not named"));
  EXPECT_THAT(refusal("llm: {api_base: 'https://h/v1', primary_model: m, secondary_model_weight: 1}\n"), HasSubstr("not named"));
  EXPECT_TRUE(read("llm: {api_base: 'https://h/v1', primary_model: m, primary_model_weight: 0.5}\n").ok());
}

TEST_F(LlmConfigTest, EveryKeyIsReadOrRefused) {
  for (const ConfigKey& key : config_keys()) {
    if (key.use != KeyUse::kRefused) continue;
    const std::string path(key.path);
    const std::size_t list = path.find("[]."), dot = path.find('.');
    std::string yaml;
    if (list != std::string::npos) {
      yaml = "llm:\n  models: [{name: m, " + path.substr(list + 3) + ": 1}]\n";
    } else if (dot != std::string::npos) {
      yaml = path.substr(0, dot) + ": {" + path.substr(dot + 1) + ": 1}\n";
    } else {
      yaml = path + ": 1\n";
    }
    EXPECT_THAT(refusal(yaml), HasSubstr(path + ": this key would do nothing here")) << yaml;
  }
  // Each that is said to be read has a reader (a missing one would throw), whatever it thinks of the value.
  for (const ConfigKey& key : config_keys()) {
    if (key.use != KeyUse::kUsed) continue;
    const std::string path(key.path);
    const std::size_t list = path.find("[]."), dot = path.find('.');
    const std::string yaml = list != std::string::npos  ? "llm:\n  models: [{" + path.substr(list + 3) + ": [1]}]\n"
                             : dot != std::string::npos ? path.substr(0, dot) + ": {" + path.substr(dot + 1) + ": [1]}\n"
                                                        : path + ": [1]\n";
    EXPECT_THAT(refusal(yaml), HasSubstr(path + ": ")) << yaml;
  }
}

TEST_F(LlmConfigTest, WhatContradictsItselfIsRefused) {
  EXPECT_THAT(refusal("llm: {api_base: 'https://h/v1'}\n"), HasSubstr("no model"));
  EXPECT_THAT(refusal("llm: {name: m}\n"), HasSubstr("llm.api_base is missing"));
  EXPECT_THAT(refusal("llm: {name: m, api_base: 'http://far.example/v1', api_key_env: K}\n"), HasSubstr("unencrypted"));
  EXPECT_THAT(refusal("llm: {name: m, primary_model: n, api_base: 'https://h/v1'}\n"), HasSubstr("several ways"));
  EXPECT_THAT(refusal("llm: {name: m, api_base: 'https://h/v1', api_key_env: A, api_key_file: b}\n"), HasSubstr("keep one"));
  EXPECT_THAT(refusal("llm: {api_base: 'https://h/v1', models: [{name: a}, {name: a}]}\n"), HasSubstr("listed twice"));
  EXPECT_THAT(refusal("llm: {api_base: 'https://h/v1', models: [{weight: 1}]}\n"), HasSubstr("needs a name"));
  EXPECT_THAT(refusal(with("budget: {dollars: 1}\n")), HasSubstr("needs prompt_price and completion_price of model 'm'"));
  EXPECT_THAT(refusal(with("operators: {diff: 0}\n")), HasSubstr("at least one needs a share"));
  EXPECT_THAT(refusal(with("operators: {diff: 1}\ndiff_based_evolution: true\n")), HasSubstr("say the same thing twice"));
  EXPECT_THAT(refusal(with("diff_based_evolution: false\nfull_rewrite_probability: 0.5\n")), HasSubstr("needs diff_based_evolution"));
  EXPECT_THAT(refusal("llm: {name: m, api_base: 'https://h/v1', temperature: 3}\n"),
              HasSubstr("llm.temperature: expected a number in [0, 2], got 3"));
  EXPECT_EQ(refusal("llm: {manual_mode: true}\n"), "accepted");
}

TEST_F(LlmConfigTest, AKeyInTheFileIsRefusedWithoutRepeatingIt) {
  for (const char* key : {"sk-secret-123", "'${A} sk-secret-123'", "12345678901234567890"}) {
    const std::string message = refusal("llm: {name: m, api_base: 'https://h/v1', api_key: " + std::string(key) + "}\n");
    EXPECT_THAT(message, HasSubstr("a key does not stand in a configuration file"));
    EXPECT_THAT(message, Not(HasSubstr("secret")));
    EXPECT_THAT(message, Not(HasSubstr("12345678")));
  }
}

TEST_F(LlmConfigTest, TheDocumentHasTheTable) {
  const auto document = real_file_system().read(fs::path(EVOLORA_SOURCE_DIR) / "docs" / "evolve_llm.md");
  ASSERT_TRUE(document.ok());
  EXPECT_THAT(*document, HasSubstr(config_keys_as_markdown())) << "docs/evolve_llm.md should hold this table:\n" << config_keys_as_markdown();
}

}  // namespace
}  // namespace evolora
