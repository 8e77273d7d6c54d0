// Precedence, defaults, types and refusals of the training request.
#include "train/request_keys.h"

#include <gtest/gtest.h>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Setting yaml(const std::string& key, const Json& value) { return {key, value, key, "lora.yaml:3: ", {}}; }
Setting flag(const std::string& key, const Json& value) { return {key, value, flag_of_key(key), "", {}}; }

Error error_of(const std::vector<Setting>& from_yaml, const std::vector<Setting>& flags = {}) {
  const auto request = build_train_request(from_yaml, flags);
  EXPECT_FALSE(request.ok());
  return request.ok() ? Error{} : request.error();
}

TEST(TrainRequest, DefaultsAreMlxLms) {
  const auto request = build_train_request({}, {});
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->num_layers, 16);
  EXPECT_EQ(request->batch_size, 4);
  EXPECT_EQ(request->iters, std::nullopt);
  EXPECT_EQ(request->val_batches, 25);
  EXPECT_EQ(request->learning_rate, 1e-5);
  EXPECT_EQ(request->steps_per_report, 10);
  EXPECT_EQ(request->steps_per_eval, 200);
  EXPECT_EQ(request->save_every, 100);
  EXPECT_EQ(request->test_batches, 500);
  EXPECT_EQ(request->max_seq_length, 2048);
  EXPECT_EQ(request->rank, 8);
  EXPECT_EQ(request->scale, 20.0);
  EXPECT_EQ(request->lora_parameters.dump(), R"({"rank":8,"dropout":0.0,"scale":20.0})");
  EXPECT_EQ(request->semantics, Semantics::kNative);
}

TEST(TrainRequest, FlagBeatsYamlBeatsDefault) {
  const auto request = build_train_request({yaml("batch_size", 2), yaml("iters", 7), yaml("seed", Json())}, {flag("batch_size", 3)});
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->batch_size, 3);
  EXPECT_EQ(request->iters, 7);
  EXPECT_EQ(request->seed, 0U);
}

TEST(TrainRequest, EpochsFlagReplacesItersOfTheFile) {
  const auto request = build_train_request({yaml("iters", 7)}, {flag("epochs", 1.5)});
  ASSERT_TRUE(request.ok());
  EXPECT_EQ(request->iters, std::nullopt);
  EXPECT_EQ(request->epochs, 1.5);
  EXPECT_NE(error_of({}, {flag("iters", 7), flag("epochs", 1.5)}).message.find("--epochs: give either this or --iters"), std::string::npos);
}

TEST(TrainRequest, UnknownKeyNamesPlaceAndNearest) {
  const Error error = error_of({yaml("learning_rte", 1e-4)});
  EXPECT_EQ(error.code, ErrorCode::kUsage);
  EXPECT_EQ(error.message, "lora.yaml:3: unknown key 'learning_rte'; did you mean 'learning_rate'?");
  EXPECT_EQ(error_of({yaml("learning_rte", Json())}).code, ErrorCode::kUsage);
}

TEST(TrainRequest, WrongTypesAndRangesSayWhatIsExpected) {
  EXPECT_EQ(error_of({yaml("batch_size", 0)}).message, "lora.yaml:3: batch_size: expected a whole number in [1, 1048576], got 0");
  EXPECT_EQ(error_of({yaml("iters", 10.0)}).message, "lora.yaml:3: iters: expected a whole number, 1 or more, got 10.0");
  EXPECT_EQ(error_of({yaml("model", 3)}).message, "lora.yaml:3: model: expected a text, got 3");
  EXPECT_EQ(error_of({yaml("train", "yes")}).code, ErrorCode::kUsage);
  EXPECT_EQ(error_of({yaml("learning_rate", "1e-5")}).code, ErrorCode::kUsage);
  EXPECT_EQ(error_of({yaml("learning_rate", -1)}).code, ErrorCode::kUsage);
  EXPECT_EQ(error_of({yaml("seed", 4294967296)}).code, ErrorCode::kUsage);
  EXPECT_EQ(error_of({yaml("epochs", 0)}).code, ErrorCode::kUsage);
  EXPECT_EQ(error_of({}, {flag("val_batches", -2)}).message, "--val-batches: expected a whole number, -1 or more, got -2");
}

TEST(TrainRequest, LoraParametersReplaceTheDefaultsAsAWhole) {
  const auto request =
      build_train_request({yaml("lora_parameters", Json::parse(R"({"keys":["self_attn.q_proj"],"rank":4,"scale":10,"dropout":0.1})"))}, {});
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->rank, 4);
  EXPECT_EQ(request->scale, 10.0);
  EXPECT_EQ(request->keys, std::vector<std::string>{"self_attn.q_proj"});
  EXPECT_NE(error_of({yaml("lora_parameters", Json::parse(R"({"rank":4,"scale":10.0})"))}).message.find("'dropout' is missing"), std::string::npos);
  EXPECT_NE(error_of({yaml("lora_parameters", Json::parse(R"({"rank":4,"alpha":16,"dropout":0})"))}).message.find("scale = alpha / rank"),
            std::string::npos);
  EXPECT_NE(error_of({yaml("lora_parameters", Json::parse(R"({"rnak":4})"))}).message.find("did you mean 'rank'"), std::string::npos);
  EXPECT_EQ(error_of({yaml("lora_parameters", Json::parse(R"({"rank":4,"scale":1,"dropout":1.0})"))}).message,
            "lora.yaml:3: lora_parameters.dropout: expected a number in [0, 1), got 1.0");
}

TEST(TrainRequest, WhatMlxLmHasAndWeDoNotIsNamed) {
  const std::vector<Setting> unsupported = {yaml("fine_tune_type", "full"), yaml("optimizer", "muon"), yaml("report_to", "wandb"),
                                            yaml("trust_remote_code", true), yaml("hf_dataset", Json::object())};
  for (const Setting& setting : unsupported) EXPECT_EQ(error_of({setting}).code, ErrorCode::kUnsupported) << setting.key;
  EXPECT_NE(error_of({yaml("fine_tune_type", "full")}).message.find("\"full\" is not supported yet"), std::string::npos);
  EXPECT_EQ(error_of({yaml("fine_tune_type", "lara")}).code, ErrorCode::kUsage);
}

TEST(TrainRequest, TheirDefaultsAreAccepted) {
  const auto request = build_train_request({yaml("fine_tune_type", "lora"), yaml("report_to", Json()), yaml("trust_remote_code", false),
                                            yaml("clear_cache_threshold", 0), yaml("lr_schedule", Json()), yaml("project_name", "p")},
                                           {});
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_EQ(request->extra["project_name"], Json("p"));
}

TEST(TrainRequest, BadBlocksAreFoundBeforeAnythingIsLoaded) {
  EXPECT_NE(
      error_of({yaml("optimizer_config", Json::parse(R"({"adam":{"beta":1}})"))}).message.find("lora.yaml:3: optimizer_config.adam: unknown key"),
      std::string::npos);
  EXPECT_NE(error_of({yaml("lr_schedule", Json::parse(R"({"name":"cosine"})"))}).message.find("lora.yaml:3: lr_schedule: "), std::string::npos);
}

TEST(TrainRequest, PackingAndResumingAreNotMlxLms) {
  const auto request = build_train_request({yaml("packing", true)}, {flag("resume", true)});
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_TRUE(request->packing);
  EXPECT_TRUE(request->resume);
  EXPECT_TRUE(build_train_request({yaml("packing", false)}, {flag("compat", "mlx-lm")}).ok());
  EXPECT_EQ(error_of({yaml("packing", true)}, {flag("compat", "mlx-lm")}).message,
            "--packing: not possible with --compat mlx-lm, because mlx-lm does not pack its batches; leave one of them out");
  EXPECT_EQ(error_of({}, {flag("compat", "mlx-lm"), flag("resume", true)}).message,
            "--resume: not possible with --compat mlx-lm, because mlx-lm cannot go on where it stopped; leave one of them out");
}

TEST(SettingFromFlag, ConvertsByKind) {
  const auto find = [](std::string_view key) {
    for (const RequestKey& k : request_keys()) {
      if (k.key == key) return k;
    }
    ADD_FAILURE() << key;
    return request_keys().front();
  };
  EXPECT_EQ(setting_from_flag(find("num_layers"), "-1")->value, Json(-1));
  EXPECT_EQ(setting_from_flag(find("learning_rate"), "1e-4")->value, Json(1e-4));
  EXPECT_EQ(setting_from_flag(find("model"), "7")->value, Json("7"));
  EXPECT_EQ(setting_from_flag(find("train"), "true")->value, Json(true));
  for (const char* bad : {"", "x", "3.5", "4 "}) EXPECT_FALSE(setting_from_flag(find("batch_size"), bad).ok()) << bad;
  for (const char* bad : {"", "nan", "inf", "1e-4x"}) EXPECT_FALSE(setting_from_flag(find("learning_rate"), bad).ok()) << bad;
  EXPECT_FALSE(setting_from_flag(find("model"), "\xff").ok());
}

}  // namespace
}  // namespace evolora
