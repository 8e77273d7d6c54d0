// Which linears are adapted, mlx-lm's initialisation bit for bit, and the exchange with files.
#include "model/adapter.h"

#include <gtest/gtest.h>

#include <bit>
#include <map>

#include "base/test_folder.h"
#include "model/test_model.h"

namespace evolora {
namespace {

class AdapterTest : public ::testing::Test {
 protected:
  TestFolder folder_;
  ModelWeights weights_ = load_test_model({}, folder_ / "model");
};

TEST_F(AdapterTest, DefaultsAdaptEveryLinearOfTheLastLayers) {
  const AdapterSet set = AdapterSet::create(weights_.spec(), {.num_layers = 2, .rank = 3}).value();
  EXPECT_EQ(set.modules().size(), 14U);
  EXPECT_EQ(set.first_layer(), 1);
  EXPECT_EQ(set.find(0, Projection::kQ), nullptr);
  ASSERT_NE(set.find(2, Projection::kDown), nullptr);
  EXPECT_EQ(set.find(2, Projection::kDown)->path, "model.layers.2.mlp.down_proj");
  EXPECT_EQ(set.parameter_count(), 2U * 3U * (4U * 64 + 64 + 32 + 64 + 32 + 64 + 64 + 2 * (64 + 96) + 64 + 96 - 64 - 64));
  EXPECT_EQ(AdapterSet::create(weights_.spec(), {.num_layers = 0}).value().first_layer(), 0);
  EXPECT_EQ(AdapterSet::create(weights_.spec(), {.num_layers = -1}).value().modules().size(), 21U);
}

// First and last bits of each lora_a from mlx 0.32.4 / mlx-lm 0.32.2: mx.random.seed(7); linear_to_lora_layers(model, 2, rank 3).
TEST_F(AdapterTest, InitialisationIsMlxLmsBitForBit) {
  AdapterSet set = AdapterSet::create(weights_.spec(), {.num_layers = 2, .rank = 3}).value();
  set.initialize(7);
  const std::map<std::string, std::pair<std::uint32_t, std::uint32_t>> golden = {
      {"model.layers.1.mlp.down_proj.lora_a", {0x3d4fd2b0, 0x3d082c14}},    {"model.layers.1.mlp.gate_proj.lora_a", {0x3dfcc9d6, 0x3c94e2c8}},
      {"model.layers.1.mlp.up_proj.lora_a", {0xbc4e9968, 0x3d8244dc}},      {"model.layers.1.self_attn.k_proj.lora_a", {0x3c81f830, 0xbcdd75b4}},
      {"model.layers.1.self_attn.o_proj.lora_a", {0x3d67921c, 0xbdfeda00}}, {"model.layers.1.self_attn.q_proj.lora_a", {0xbd63ab9a, 0xbdc0c10d}},
      {"model.layers.1.self_attn.v_proj.lora_a", {0xbdc8907a, 0x3d250da0}}, {"model.layers.2.mlp.down_proj.lora_a", {0x3d5be410, 0x3ccd1bc0}},
      {"model.layers.2.mlp.gate_proj.lora_a", {0x3d8b1122, 0xbdb990fc}},    {"model.layers.2.mlp.up_proj.lora_a", {0x3d666bf0, 0xbda56394}},
      {"model.layers.2.self_attn.k_proj.lora_a", {0xbdb875dc, 0xbddaf8b4}}, {"model.layers.2.self_attn.o_proj.lora_a", {0xbd0496ce, 0x3d8762c6}},
      {"model.layers.2.self_attn.q_proj.lora_a", {0xbda347d2, 0x3d8d201a}}, {"model.layers.2.self_attn.v_proj.lora_a", {0x3d50c0f8, 0x3dab56bc}}};
  std::size_t seen = 0;
  for (const TensorView& tensor : set.tensors()) {
    const auto count = static_cast<std::size_t>(tensor.element_count());
    const float first = load_float(DType::kF32, tensor.bytes.data(), 0);
    const float last = load_float(DType::kF32, tensor.bytes.data(), count - 1);
    if (tensor.name.ends_with(".lora_b")) {
      EXPECT_EQ(first, 0.0F);
      continue;
    }
    EXPECT_EQ(std::bit_cast<std::uint32_t>(first), golden.at(tensor.name).first) << tensor.name;
    EXPECT_EQ(std::bit_cast<std::uint32_t>(last), golden.at(tensor.name).second) << tensor.name;
    ++seen;
  }
  EXPECT_EQ(seen, golden.size());
}

TEST_F(AdapterTest, WrongOptionsAreRefusedByName) {
  const auto message = [&](const AdapterOptions& options) {
    const auto set = AdapterSet::create(weights_.spec(), options);
    return set.ok() ? std::string("accepted") : set.error().message;
  };
  EXPECT_NE(message({.num_layers = 4}).find("requested to train 4 layers but the model has only 3"), std::string::npos);
  EXPECT_NE(message({.num_layers = 1, .rank = 0}).find("rank"), std::string::npos);
  EXPECT_NE(message({.num_layers = 1, .dropout = 1.0F}).find("dropout"), std::string::npos);
  EXPECT_NE(message({.num_layers = 1, .keys = {{"self_attn.q_prj"}}}).find("self_attn.q_prj"), std::string::npos);
  EXPECT_NE(message({.num_layers = 1, .keys = {{"lm_head"}}}).find("outside the blocks"), std::string::npos);
}

TEST_F(AdapterTest, FilesComeBackEqualAndForeignTensorsAreRefused) {
  AdapterSet set = AdapterSet::create(weights_.spec(), {.num_layers = 2, .rank = 3}).value();
  set.initialize(1);
  ASSERT_TRUE(set.save(real_file_system(), folder_ / "a.safetensors").ok());
  const SafetensorsFile file = SafetensorsFile::open(real_file_system(), folder_ / "a.safetensors").value();
  AdapterSet other = AdapterSet::create(weights_.spec(), {.num_layers = 2, .rank = 3}).value();
  ASSERT_TRUE(other.load(file, "a.safetensors").ok());
  EXPECT_TRUE(std::equal(set.parameters(), set.parameters() + set.parameter_count(), other.parameters()));

  AdapterSet narrower = AdapterSet::create(weights_.spec(), {.num_layers = 1, .rank = 3}).value();
  EXPECT_NE(narrower.load(file, "a.safetensors").error().message.find("belongs to no adapted layer"), std::string::npos);
  AdapterSet thicker = AdapterSet::create(weights_.spec(), {.num_layers = 2, .rank = 4}).value();
  EXPECT_NE(thicker.load(file, "a.safetensors").error().message.find("expected shape [96, 4], got [96, 3]"), std::string::npos);
}

}  // namespace
}  // namespace evolora
