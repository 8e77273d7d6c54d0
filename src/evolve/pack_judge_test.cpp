// Settings of the judge of packs as JSON. What it does with them is seen in tests/end_to_end/evolve_pack_test.cpp.
#include "evolve/pack_judge.h"

#include <gtest/gtest.h>

#include "evolve/judge/microbenchmark.h"
#include "evolve/judge/mlx/mlx_problem_shapes.h"

namespace evolora {
namespace {

PackJudgeSettings settings() {
  PackJudgeSettings out;
  out.manifest = {.name = "p", .slots = {"lora_linear_forward"}, .files = {"k.cpp"}};
  out.threads = 2;
  out.pairs = 5;
  out.shapes = smollm2_shapes(64);
  out.held_out_shapes = smollm2_shapes(33);
  return out;
}

PackJudgeSettings mlx_settings() {
  PackJudgeSettings out;
  out.manifest = {.name = "p", .target = PackTarget::kMlx, .slots = {"dora_linear", "lora_linear"}, .files = {"k.cpp"}};
  out.objective = usual_objective(PackTarget::kMlx);
  out.limits = {.memory = 0.02, .time = 0.7};
  out.mlx_shapes = mlx_shapes(out.manifest, 8, 64);
  out.mlx_held_out_shapes = mlx_shapes(out.manifest, 8, 33);
  return out;
}

TEST(PackJudgeJson, BothWays) {
  PackJudgeSettings with = settings();
  EXPECT_EQ(pack_judge_to_json(pack_judge_from_json(pack_judge_to_json(with), "x").value()), pack_judge_to_json(with));
  with.training = RecipeJudgeSettings{.common = {{"model", "m"}}, .baseline = {{"threads", 1}}, .program = "evolora"};
  const auto again = pack_judge_from_json(pack_judge_to_json(with), "x");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(pack_judge_to_json(*again), pack_judge_to_json(with));
}

TEST(PackJudgeJson, PacksForMlxHaveChainsAndWhatIsMeasuredOfThem) {
  PackJudgeSettings mlx = mlx_settings();
  const auto json = pack_judge_to_json(mlx);
  EXPECT_EQ(json["shapes"].size(), 4u) << "two chains for each of two slots";
  EXPECT_EQ(json["objective"], "memory");
  const auto again = pack_judge_from_json(json, "x");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(pack_judge_to_json(*again), json);
  EXPECT_EQ(again->mlx_shapes[0].name(), mlx.mlx_shapes[0].name());
  EXPECT_EQ(again->limits.time, 0.7);
  EXPECT_TRUE(again->shapes.empty());
}

TEST(PackJudgeJson, ABrokenPlanIsNamed) {
  for (const PackJudgeSettings& each : {settings(), mlx_settings()}) {
    for (const char* field :
         {"kind", "manifest", "objective", "memory_may_grow", "time_may_grow", "threads", "pairs", "shapes", "held_out_shapes", "training"}) {
      auto json = pack_judge_to_json(each);
      json.erase(field);
      const auto read = pack_judge_from_json(json, "search.sqlite");
      ASSERT_FALSE(read.ok()) << field;
      EXPECT_TRUE(read.error().message.starts_with("search.sqlite: ")) << read.error().message;
      EXPECT_NE(read.error().message.find(field), std::string::npos) << read.error().message;
    }
  }
}

}  // namespace
}  // namespace evolora
