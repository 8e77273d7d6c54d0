// Loading a model folder: what is bound where, and what a wrong folder is told.
#include "model/weights.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "model/test_model.h"

namespace evolora {
namespace {

TEST(ModelWeights, QuantizedTiedLlama) {
  TestFolder folder;
  const ModelWeights weights = load_test_model({}, folder / "m");
  EXPECT_EQ(weights.head().data, weights.embedding().data);
  const WeightView& down = weights.layer(2)[Projection::kDown].weight;
  EXPECT_EQ(down.out, 64);
  EXPECT_EQ(down.in, 96);
  EXPECT_EQ(down.bits, 4);
  EXPECT_EQ(down.group_size, 32);
  EXPECT_EQ(weights.layer(0)[Projection::kQ].bias, nullptr);
}

TEST(ModelWeights, DenseUntiedWithBiases) {
  TestFolder folder;
  const ModelWeights weights =
      load_test_model({.tied = false, .attention_bias = true, .quantization = std::nullopt, .dtype = DType::kBF16}, folder / "m");
  EXPECT_NE(weights.head().data, weights.embedding().data);
  EXPECT_FALSE(weights.head().quantized());
  EXPECT_EQ(weights.head().dtype, DType::kBF16);
  EXPECT_NE(weights.layer(0)[Projection::kO].bias, nullptr);
}

TEST(ModelWeights, AWrongShapeAndAMissingTensorAreNamed) {
  TestFolder folder;
  const auto error_with = [&](const TestModel& written, const char* key, std::int64_t value) {
    write_test_model(written, folder / "m");
    nlohmann::json config = nlohmann::json::parse(real_file_system().read(folder / "m" / "config.json").value());
    config[key] = value;
    EXPECT_TRUE(write_file_atomically(real_file_system(), folder / "m" / "config.json", config.dump()).ok());
    const auto weights = ModelWeights::load(MlxFolder::open(real_file_system(), folder / "m").value());
    EXPECT_FALSE(weights.ok());
    return weights.ok() ? std::string() : weights.error().message;
  };
  EXPECT_NE(error_with({}, "intermediate_size", 128).find("'model.layers.0.mlp.gate_proj.weight': expected shape [128, 8], got [96, 8]"),
            std::string::npos);
  EXPECT_NE(error_with({}, "num_hidden_layers", 4).find("'model.layers.3.input_layernorm.weight' is missing"), std::string::npos);
}

// 6 bits in groups of 32 and 3 bits in groups of 64 make tensors of one shape; the spec tells them apart.
TEST(ModelWeights, AnotherWidthOfTheSameShapeIsRefused) {
  TestFolder folder;
  const auto error_with = [&](std::int64_t hidden_size, const AffineQuantization& claimed) {
    write_test_model({.hidden_size = hidden_size, .quantization = AffineQuantization{6, 32}}, folder / "m");
    nlohmann::json config = nlohmann::json::parse(real_file_system().read(folder / "m" / "config.json").value());
    config["quantization"] = {{"group_size", claimed.group_size}, {"bits", claimed.bits}};
    EXPECT_TRUE(write_file_atomically(real_file_system(), folder / "m" / "config.json", config.dump()).ok());
    const auto weights = ModelWeights::load(MlxFolder::open(real_file_system(), folder / "m").value());
    EXPECT_FALSE(weights.ok());
    return weights.ok() ? std::string() : weights.error().message;
  };
  EXPECT_NE(error_with(64, {3, 64}).find("'model.embed_tokens.weight': expected shape [83, 6], got [83, 12]"), std::string::npos)
      << error_with(64, {3, 64});
  EXPECT_NE(error_with(96, {3, 64}).find("'model.embed_tokens' has 96 inputs, not a multiple of its quantization group 64"), std::string::npos)
      << error_with(96, {3, 64});
}

}  // namespace
}  // namespace evolora
