// A model's linears as timed calls.
#include "evolve/judge/problem_shapes.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"

namespace evolora {
namespace {

constexpr const char* kConfig = R"({"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2,
  "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16",
  "quantization": {"group_size": 32, "bits": 8}})";

TEST(ProblemShapes, OfAModelsLinears) {
  TestFolder folder;
  ASSERT_TRUE(write_file_atomically(real_file_system(), folder / "config.json", kConfig).ok());
  const auto shapes = shapes_of_model(real_file_system(), folder.path(), 4, 33);
  ASSERT_TRUE(shapes.ok()) << shapes.error().message;
  ASSERT_EQ(shapes->size(), 4U);
  EXPECT_EQ((*shapes)[0].name(), "8 bits, group 32, BF16; n 33, in 64; out 64 rank 4 bias; out 32 rank 4 bias; out 32 rank 4 bias");
  EXPECT_EQ((*shapes)[2].projections.size(), 2U);
  EXPECT_EQ((*shapes)[3].in, 160);
  const auto again = shapes_from_json(shapes_to_json(*shapes), "x");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(shapes_to_json(*again), shapes_to_json(*shapes));
  for (const ProblemShape& shape : *shapes) {
    const LoraProblem problem(shape, 1, LoraSolver::kOwnKernels);
    std::size_t bytes = problem.x.size() * 4;
    for (const auto& p : problem.projections)
      bytes += p.data.size() + p.scales.size() + p.biases.size() + 4 * (p.a.size() + p.b.size() + p.dy.size());
    EXPECT_GE(most_call_bytes(*shapes), bytes) << shape.name();
  }
}

TEST(ProblemShapes, BrokenOnesAreRefused) {
  for (const char* text : {"{}", "[]", "[{}]", R"([{"bits":4,"group_size":64,"dtype":9,"n":1,"in":64,"projections":[{"out":1,"rank":1}]}])",
                           R"([{"bits":4,"group_size":64,"dtype":1,"n":0,"in":64,"projections":[{"out":1,"rank":1}]}])",
                           R"([{"bits":4,"group_size":64,"dtype":1,"n":1,"in":64,"projections":[]}])"}) {
    const auto shapes = shapes_from_json(nlohmann::ordered_json::parse(text), "plan");
    ASSERT_FALSE(shapes.ok()) << text;
    EXPECT_TRUE(shapes.error().message.starts_with("plan: ")) << shapes.error().message;
  }
}

}  // namespace
}  // namespace evolora
