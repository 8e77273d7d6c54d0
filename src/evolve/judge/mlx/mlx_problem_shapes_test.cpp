// Chains of models, wide and narrow, and what a plan may hold of them.
#include "evolve/judge/mlx/mlx_problem_shapes.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

const PackManifest kDora = {.name = "p", .target = PackTarget::kMlx, .slots = {"dora_linear"}, .files = {"k.cpp"}};

class MlxProblemShapes : public testing::Test {
 protected:
  Result<std::vector<MlxProblemShape>> of_model(std::int64_t hidden) {
    const Json config = {{"model_type", "llama"},
                         {"hidden_size", hidden},
                         {"intermediate_size", 3 * hidden},
                         {"num_attention_heads", 16},
                         {"num_key_value_heads", 4},
                         {"num_hidden_layers", 2},
                         {"rms_norm_eps", 1e-5},
                         {"vocab_size", 100},
                         {"tie_word_embeddings", true},
                         {"max_position_embeddings", 512},
                         {"rope_theta", 10000.0},
                         {"head_dim", 32},
                         {"quantization", {{"bits", 8}, {"group_size", 32}}}};
    EXPECT_TRUE(write_file_atomically(real_file_system(), folder_ / "config.json", config.dump()).ok());
    return mlx_shapes_of_model(real_file_system(), folder_.path(), kDora, 16, 10);
  }
  TestFolder folder_;
};

TEST_F(MlxProblemShapes, AModelsWidthsAndFormat) {
  const auto shapes = of_model(1024);
  ASSERT_TRUE(shapes.ok()) << shapes.error().message;
  ASSERT_EQ(shapes->size(), 2u);
  EXPECT_EQ((*shapes)[0].name(), "dora, 8 bits, group 32, F32; n 10, 1024 -> 512 -> 1024 -> 512 -> 1024, rank 16");
  EXPECT_EQ((*shapes)[1].name(), "dora, 8 bits, group 32, F32; n 10, 1024 -> 3072 -> 1024 -> 3072 -> 1024, rank 16");
}

TEST_F(MlxProblemShapes, OfANarrowModelThoseOfSmolLm2) {
  const auto shapes = of_model(256);
  ASSERT_TRUE(shapes.ok()) << shapes.error().message;
  ASSERT_EQ(shapes->size(), 2u);
  EXPECT_EQ((*shapes)[0].name(), mlx_shapes(kDora, 16, 10)[0].name());
}

TEST_F(MlxProblemShapes, BothSlotsHaveTheirChains) {
  PackManifest both = kDora;
  both.slots = {"dora_linear", "lora_linear"};
  const auto shapes = mlx_shapes(both, 8, 10);
  ASSERT_EQ(shapes.size(), 4u);
  EXPECT_FALSE(shapes[0].dora);
  EXPECT_TRUE(shapes[2].dora);
}

TEST_F(MlxProblemShapes, ACallFitsTheMemoryThatItIsSaidToNeed) {
  for (const MlxProblemShape& shape : mlx_shapes(kDora, 8, 5)) {
    const MlxProblem problem(shape, 1);
    std::size_t in = problem.x.size() + problem.dy.size(), out = 0;
    for (const MlxProblem::Linear& linear : problem.linears) {
      in += linear.values.size() + linear.scales.size() + linear.biases.size() + linear.bias.size();
      in += 4 * (linear.a.size() + linear.b.size() + linear.m.size());
    }
    const MlxOutputs outputs(problem);
    for (const auto& [name, values] : outputs.named()) out += 4 * values->size();
    EXPECT_GE(most_call_bytes({shape}), in);
    EXPECT_GE(most_call_bytes({shape}), out);
  }
}

TEST_F(MlxProblemShapes, AsJsonBothWaysAndBrokenOnesAreNamed) {
  const Json json = mlx_shapes_to_json(mlx_shapes(kDora, 8, 10));
  const auto again = mlx_shapes_from_json(json, "plan");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(mlx_shapes_to_json(*again), json);
  const auto error = [&](const char* field, const Json& value) {
    Json broken = json;
    broken[0][field] = value;
    const auto read = mlx_shapes_from_json(broken, "plan");
    return read.ok() ? "" : read.error().message;
  };
  EXPECT_EQ(error("bits", 7), "plan: shape field 'bits': expected 0, 2, 3, 4, 5, 6 or 8, got 7");
  EXPECT_EQ(error("group_size", 0), "plan: shape field 'group_size': expected 32, 64 or 128, got 0");
  EXPECT_EQ(error("n", -1), "plan: shape field 'n': expected a whole number, got -1");
  EXPECT_EQ(error("widths", {576, 5, 576}), "plan: shape field 'widths': expected whole groups, got [576,5,576]");
  EXPECT_EQ(error("widths", {576}), "plan: shape field 'widths': expected a list of 2 to 9 widths, got [576]");
  EXPECT_EQ(error("dora", 1), "plan: shape field 'dora': expected true or false, got 1");
  EXPECT_EQ(mlx_shapes_from_json(Json::array(), "plan").error().message, "plan: expected a list of shapes");
  EXPECT_FALSE(mlx_shapes_from_json(Json::array({3}), "plan").ok());
}

}  // namespace
}  // namespace evolora
