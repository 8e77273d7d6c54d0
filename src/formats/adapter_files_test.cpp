// adapter_config.json: bytes as mlx-lm writes them, and what a loader accepts and refuses.
#include "formats/adapter_files.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;
FileSystem& files = real_file_system();

TEST(AdapterFiles, ConfigBytesAreThoseOfMlxLm) {
  const TestFolder folder;
  // Order of vars(args) in mlx-lm is the parser's; the file is sorted at top level, nested dicts are not.
  const Json config = Json::parse(R"({"model":"m","train":true,"learning_rate":1e-5,"lora_parameters":{"rank":8,"dropout":0.0,"scale":20.0},
    "config":null,"iters":1000,"optimizer_config":{"adam":{},"adamw":{}},"data":"d\u00e9"})");
  ASSERT_TRUE(write_adapter_config(files, folder.path(), config).ok());
  EXPECT_EQ(files.read(folder / "adapter_config.json").value(), R"({
    "config": null,
    "data": "d\u00e9",
    "iters": 1000,
    "learning_rate": 1e-05,
    "lora_parameters": {
        "rank": 8,
        "dropout": 0.0,
        "scale": 20.0
    },
    "model": "m",
    "optimizer_config": {
        "adam": {},
        "adamw": {}
    },
    "train": true
})");
}

Result<AdapterFileConfig> read_text(const TestFolder& folder, const std::string& text) {
  write_test_file(folder / "adapter_config.json", text);
  return read_adapter_config(files, folder.path());
}

TEST(AdapterFiles, ReadsTheLoadersMinimum) {
  const TestFolder folder;
  const AdapterFileConfig config =
      read_text(folder, R"({"num_layers":-1,"lora_parameters":{"rank":4,"scale":2,"dropout":0.25,"keys":["self_attn.q_proj"]},"other":1})").value();
  EXPECT_EQ(config.fine_tune_type, "lora");
  EXPECT_EQ(config.num_layers, -1);
  EXPECT_EQ(config.rank, 4);
  EXPECT_EQ(config.scale, 2.0F);
  EXPECT_EQ(config.dropout, 0.25F);
  EXPECT_EQ(config.keys, std::vector<std::string>{"self_attn.q_proj"});
  EXPECT_FALSE(read_text(folder, R"({"num_layers":1,"lora_parameters":{"rank":4,"scale":2,"dropout":0,"keys":null}})").value().keys.has_value());
}

TEST(AdapterFiles, RefusalsNameFileAndKey) {
  const TestFolder folder;
  EXPECT_EQ(read_adapter_config(files, folder.path()).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(read_adapter_weights(files, folder.path()).error().code, ErrorCode::kNotFound);
  struct Row {
    const char* text;
    const char* expected;
    ErrorCode code = ErrorCode::kBadData;
  };
  const Row rows[] = {
      {"{", "not valid JSON"},
      {"{}", "'num_layers' is missing"},
      {R"({"num_layers":"4"})", "'num_layers': expected an integer, got \"4\""},
      {R"({"num_layers":4.5})", "expected an integer, got 4.5"},
      {R"({"num_layers":4294967297})", "expected an integer"},
      {R"({"num_layers":18446744073709551615})", "expected an integer"},
      {R"({"num_layers":4})", "'lora_parameters' is missing"},
      {R"({"num_layers":4,"lora_parameters":null})", "expected an object, got null"},
      {R"({"num_layers":4,"lora_parameters":{"scale":1,"dropout":0}})", "lora_parameters: key 'rank' is missing"},
      {R"({"num_layers":4,"lora_parameters":{"rank":0,"scale":1,"dropout":0}})", "expected a positive integer"},
      {R"({"num_layers":4,"lora_parameters":{"rank":1,"alpha":1,"dropout":0}})", "key 'scale' is missing"},
      {R"({"num_layers":4,"lora_parameters":{"rank":1,"scale":1e300,"dropout":0}})", "'scale': expected a number"},
      {R"({"num_layers":4,"lora_parameters":{"rank":1,"scale":1}})", "key 'dropout' is missing"},
      {R"({"num_layers":4,"lora_parameters":{"rank":1,"scale":1,"dropout":1.0}})", "expected a number in [0, 1)"},
      {R"({"num_layers":4,"lora_parameters":{"rank":1,"scale":1,"dropout":0,"keys":"auto"}})", "'keys': expected a list"},
      {R"({"num_layers":4,"lora_parameters":{"rank":1,"scale":1,"dropout":0,"keys":[1]}})", "'keys': expected a list"},
      {R"({"fine_tune_type":"dora","num_layers":4})", "fine_tune_type 'dora' is not supported", ErrorCode::kUnsupported},
      {R"({"fine_tune_type":1})", "'fine_tune_type': expected a string"},
  };
  for (const Row& row : rows) {
    const auto result = read_text(folder, row.text);
    ASSERT_FALSE(result.ok()) << row.text;
    EXPECT_EQ(result.error().code, row.code) << row.text;
    EXPECT_NE(result.error().message.find(row.expected), std::string::npos) << row.text << ": " << result.error().message;
    EXPECT_NE(result.error().message.find("adapter_config.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace evolora
