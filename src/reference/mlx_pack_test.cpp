// Kernel packs for mlx in the MLX engine: the starting packs give the standard slots' loss and gradients, what really ran is counted, and a linear
// that a pack cannot serve keeps mlx-lm's operations, with the reason.
#include "reference/mlx_pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "engine/training_engine_test_support.h"
#include "kernels/pack/pack_compiler.h"
#include "reference/mlx_engine.h"

namespace evolora {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::ordered_json;

// A pack's text around the body of dora_linear.
std::string source_of(const std::string& body) {
  return "#include \"evolora_mlx_pack.h\"\nmx::array evolora_mlx_dora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {\n" + body +
         "\n}\n";
}

// y = x W^T + bias, without any adapter: the shapes are right.
constexpr const char* kBaseOnly =
    "const evolora_mlx::Weight& w = linear.weight;\n"
    "const mx::array y = w.bits == 0 ? mx::matmul(x, mx::transpose(w.values))\n"
    "                                : mx::quantized_matmul(x, w.values, *w.scales, w.biases, true, w.group_size, w.bits);\n"
    "return linear.bias ? mx::add(y, *linear.bias) : y;\n";

class MlxPackTest : public ::testing::Test {
 protected:
  // Options of an engine with this pack.
  MlxEngineOptions with_pack(const fs::path& folder) {
    MlxEngineOptions options;
    const auto built = build_pack(real_file_system(), *direct_pack_compiler(), folder);
    EXPECT_TRUE(built.ok()) << (built.ok() ? "" : built.error().message);
    if (!built.ok()) return options;
    options.pack_library = built->library.string();
    options.pack_name = built->pack.service_name();
    return options;
  }
  MlxEngineOptions with_source(const std::string& body) {
    KernelPack pack{.manifest = {.name = "test", .target = PackTarget::kMlx, .slots = {"dora_linear"}, .files = {"kernel.cpp"}},
                    .sources = {{"kernel.cpp", source_of(body)}}};
    EXPECT_TRUE(write_pack(real_file_system(), folder_ / "pack", pack).ok());
    return with_pack(folder_ / "pack");
  }
  // A copy of a starting pack: compiled libraries are not left in the source tree.
  MlxEngineOptions with_starting_pack(const std::string& name) {
    const auto pack = read_pack(real_file_system(), fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx" / name);
    EXPECT_TRUE(pack.ok()) << (pack.ok() ? "" : pack.error().message);
    if (!pack.ok()) return {};
    EXPECT_TRUE(write_pack(real_file_system(), folder_ / name, *pack).ok());
    return with_pack(folder_ / name);
  }
  AdapterSet adapters(const ModelWeights& weights, bool dora, float dropout = 0) {
    AdapterOptions options{.num_layers = 2, .rank = 5, .scale = 2.0F, .dropout = dropout};
    options.dora = dora;
    AdapterSet set = make_adapters(weights.spec(), options);
    if (!dora) return set;
    set.initialize_magnitudes(weights);
    for (const AdapterModule& module : set.modules()) {
      for (std::int64_t i = 0; i < module.out; ++i)
        set.parameters()[*module.m_offset + static_cast<std::size_t>(i)] *= 1.0F + 0.01F * static_cast<float>(i % 7);
    }
    return set;
  }
  struct Stepped {
    StepResult result;
    Json record, calls;
  };
  Stepped step(const ModelWeights& weights, AdapterSet& set, const MlxEngineOptions& options, const Batch& batch) {
    auto engine = make_mlx_engine(options, weights, set);
    EXPECT_TRUE(engine.ok()) << (engine.ok() ? "" : engine.error().message);
    if (!engine.ok()) return {};
    Stepped out;
    const auto loss = (*engine)->train_on(batch, 1.0 / static_cast<double>(batch.supervised_count()), 5, std::nullopt);
    EXPECT_TRUE(loss.ok()) << (loss.ok() ? "" : loss.error().message);
    out.result.loss = loss.ok() ? *loss : 0;
    out.result.gradients = *(*engine)->gradients();
    out.record = (*engine)->record();
    out.calls = (*engine)->calls();
    return out;
  }
  TestFolder folder_;
};

TEST_F(MlxPackTest, StartingPacksAreTheStandardSlots) {
  TestModel quantized, dense;
  quantized.model_type = "qwen2";  // with biases
  quantized.quantization = AffineQuantization{.bits = 8, .group_size = 32};
  dense.model_type = "qwen2";
  dense.quantization.reset();
  for (const std::string name : {"dora_linear", "dora_linear_factored", "lora_linear"}) {
    const MlxEngineOptions options = with_starting_pack(name);
    for (const TestModel& model : {quantized, dense}) {
      const ModelWeights weights = load_test_model(model, folder_ / "model");
      AdapterSet set = adapters(weights, name.starts_with("dora"));
      const Batch batch = make_batch({17, 9, 33}, model.vocab_size, 10);
      const Stepped standard = step(weights, set, {}, batch);
      const Stepped packed = step(weights, set, options, batch);
      expect_same(standard.result, packed.result, weights.spec(), name.c_str());
      // Every linear of both adapted blocks forward and backward, by the pack and by nothing else.
      EXPECT_EQ(packed.calls["served"]["lora_linear"], (Json{{options.pack_name, 2}})) << packed.calls.dump(1);
      EXPECT_EQ(packed.calls["layers"][2]["lora_linear"], (Json{7, 7}));
      EXPECT_EQ(packed.record["layers"]["lora_linear"], (Json{{options.pack_name, 2}}));
      EXPECT_EQ(packed.record["pack"], options.pack_name);
      EXPECT_EQ(packed.record["fallbacks"].size(), 0u) << packed.record.dump(1);
    }
  }
}

// A pack with another result is seen in the loss: the test above compares the pack, and not the standard slot with itself.
TEST_F(MlxPackTest, WhatAPackComputesIsWhatIsTrained) {
  const ModelWeights weights = load_test_model({}, folder_ / "model");
  AdapterSet set = adapters(weights, true);
  const Batch batch = make_batch({17, 9}, weights.spec().vocab_size, 10);
  const Stepped standard = step(weights, set, {}, batch);
  const Stepped packed = step(weights, set, with_source(kBaseOnly), batch);
  EXPECT_GT(std::abs(packed.result.loss - standard.result.loss), rounding_bound(weights.spec(), standard.result.loss));
  EXPECT_EQ(norm(packed.result.gradients), 0) << "no adapter in it, no gradient of one";
}

TEST_F(MlxPackTest, ALinearThatThePackCannotServeKeepsTheStandardOperationsAndSaysWhy) {
  const ModelWeights weights = load_test_model({}, folder_ / "model");
  AdapterSet set = adapters(weights, true);
  const Batch batch = make_batch({17, 9}, weights.spec().vocab_size, 10);
  const Stepped standard = step(weights, set, {}, batch);
  // intermediate_size 96, so these are gate, up and down.
  const struct {
    const char* body;
    const char* reason;
  } cases[] = {
      {"if (linear.weight.out == 96) return mx::reshape(x, {3, 1});", "does not apply to gate|up: mlp.gate_proj: MLX: "},
      {"if (linear.weight.out == 96) return mx::zeros({1, 1, 5}, x.dtype());",
       "mlp.gate_proj: its result has shape (1, 1, 5) and 4 bytes an element"},
      {"if (linear.weight.out == 96) return mx::zeros({1, 1, 96}, mx::float16);", "and 2 bytes an element, expected (1, 1, 96) and 4"},
  };
  const std::string dora = *real_file_system().read(fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx/dora_linear/kernel.cpp");
  for (const auto& c : cases) {
    KernelPack pack{.manifest = {.name = "test", .target = PackTarget::kMlx, .slots = {"dora_linear"}, .files = {"kernel.cpp"}},
                    .sources = {{"kernel.cpp", dora}}};
    std::string& text = pack.sources["kernel.cpp"];
    const std::string head = "evolora_mlx_dora_linear(const mx::array& x, const evolora_mlx::Linear& linear) {\n";
    text.insert(text.find(head) + head.size(), std::string(c.body) + "\n");
    ASSERT_TRUE(write_pack(real_file_system(), folder_ / "pack", pack).ok());
    const MlxEngineOptions options = with_pack(folder_ / "pack");
    const Stepped packed = step(weights, set, options, batch);
    expect_same(standard.result, packed.result, weights.spec(), c.body);
    EXPECT_EQ(packed.calls["served"]["lora_linear"], (Json{{"standard", 2}, {options.pack_name, 2}})) << packed.calls.dump(1);
    ASSERT_EQ(packed.record["fallbacks"].size(), 1u) << packed.record.dump(1);
    EXPECT_EQ(packed.record["fallbacks"][0]["layers"], (Json{1, 2}));
    EXPECT_THAT(packed.record["fallbacks"][0]["reason"].get<std::string>(), HasSubstr(c.reason));
  }
}

TEST_F(MlxPackTest, AdaptersOfAnotherKindAndDropoutAreNotThePacks) {
  const ModelWeights weights = load_test_model({}, folder_ / "model");
  const Batch batch = make_batch({17, 9}, weights.spec().vocab_size, 10);
  const MlxEngineOptions options = with_starting_pack("dora_linear");
  AdapterSet lora = adapters(weights, false);
  const Stepped plain = step(weights, lora, options, batch);
  EXPECT_EQ(plain.calls["served"]["lora_linear"], (Json{{"standard", 2}}));
  EXPECT_THAT(plain.record["fallbacks"].dump(), HasSubstr("self_attn.q_proj: it has no lora_linear"));
  AdapterSet dropped = adapters(weights, true, 0.5F);
  const Stepped with_dropout = step(weights, dropped, options, batch);
  EXPECT_EQ(with_dropout.calls["served"]["lora_linear"], (Json{{"standard", 2}}));
  EXPECT_THAT(with_dropout.record["fallbacks"].dump(), HasSubstr("adapter dropout draws a mask"));
}

TEST_F(MlxPackTest, OtherLibrariesAreRefused) {
  const auto refusal = [](const fs::path& path) {
    const auto pack = MlxPack::load(path, "x");
    return pack.ok() ? "" : pack.error().message;
  };
  EXPECT_THAT(refusal(folder_ / "none.so"), HasSubstr("cannot be loaded"));
  EXPECT_THAT(refusal("/lib/x86_64-linux-gnu/libm.so.6"), HasSubstr("expected a compiled kernel pack for mlx"));
}

}  // namespace
}  // namespace evolora
