// `evolora bench` with the MLX engine as an arm: valid trials, the same training, and what its applied proof finds.
//
// "arithmetic": "fp32", because this model's f16 takes MLX 20 times the processor time on CPUs.
#include <sstream>

#include "bench_support.h"

namespace evolora {
namespace {

class CliBenchMlx : public CliBench {
 protected:
  void SetUp() override {
    CliBench::SetUp();
    if (!fs::exists(fs::path(EVOLORA_BUILD_DIR) / "evolora_mlx_engine.so")) GTEST_SKIP() << "built without the MLX engine";
    write("standard.json", R"({"mlx": {"arithmetic": "fp32"}})");
    for (const char* name : {"pack.json", "kernel.cpp"}) {
      write(std::string("pack/") + name, text_of(fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx/lora_linear" / name));
    }
    write("packed.json", R"({"pack": "pack", "mlx": {"arithmetic": "fp32"}})");
    write("optimized.json", R"({"mlx": {"arithmetic": "fp32", "lora_linear": "grouped", "swiglu": "optimized", "head_loss": "optimized"}})");
  }
  std::vector<std::string> arms(const std::vector<std::string>& baseline, const std::vector<std::string>& candidate,
                                const std::vector<std::string>& more = {}) {
    std::vector<std::string> all;
    for (const std::string& word : baseline) all.insert(all.end(), {"--baseline", word});
    for (const std::string& word : candidate) all.insert(all.end(), {"--candidate", word});
    all.insert(all.end(), more.begin(), more.end());
    return bench(all);
  }
  std::vector<Json> records() {
    std::vector<Json> all;
    std::istringstream lines(text_of(folder_ / "bench/samples.jsonl"));
    for (std::string line; std::getline(lines, line);) all.push_back(Json::parse(line));
    return all;
  }
  void expect_valid_and_the_same_training() {
    for (const Json& record : records()) EXPECT_EQ(record["status"], "ok") << record["reason"];
    const Json outcome = verdict();
    for (const Json& gate : outcome["gates"]) EXPECT_EQ(gate["state"], "pass") << gate.dump();
  }
  // Of the candidate's trials.
  std::string invalid_reason() {
    std::string reason;
    for (const Json& record : records()) {
      EXPECT_EQ(record["status"], record["arm"] == "candidate" ? "invalid" : "ok") << record["reason"];
      if (record["arm"] == "candidate") reason = record["reason"].get<std::string>();
    }
    return reason;
  }
};

TEST_F(CliBenchMlx, AnArmWithAPackMustHaveRunIt) {
  good(arms({"engine=mlx", path("standard.json")}, {"engine=mlx", path("packed.json")}, {"--iters", "4", "--pairs", "2"}));
  expect_valid_and_the_same_training();
  std::string name;
  for (const Json& record : records()) {
    const Json& served = record["notes"]["applied"]["served"]["lora_linear"];
    if (record["arm"] == "candidate") name = served.begin().key();
    EXPECT_EQ(served.begin().value(), 2) << served.dump();
  }
  EXPECT_EQ(name.substr(0, 5), "pack:");
}

TEST_F(CliBenchMlx, APackThatServesNothingIsNoProof) {
  for (const char* name : {"pack.json", "kernel.cpp"}) {
    write(std::string("pack/") + name, text_of(fs::path(EVOLORA_SOURCE_DIR) / "examples/packs/mlx/dora_linear" / name));
  }
  run(arms({"engine=mlx", path("standard.json")}, {"engine=mlx", path("packed.json")}, {"--iters", "4", "--pairs", "2"}));
  const std::string reason = invalid_reason();
  EXPECT_NE(reason.find("candidate_not_applied"), std::string::npos) << reason;
  EXPECT_NE(reason.find("it has no lora_linear"), std::string::npos) << reason;
}

TEST_F(CliBenchMlx, FusedAgainstStandardMlxIsTheSameTrainingAndAccepted) {
  const ProcessResult result = good(arms({"engine=mlx", path("standard.json")}, {"engine=fused"}, {"--iters", "40", "--pairs", "6"}));
  expect_valid_and_the_same_training();
  EXPECT_EQ(verdict()["decision"], "ACCEPT") << result.standard_output;
  for (const Json& record : records()) {
    const Json& applied = record["notes"]["applied"];
    EXPECT_EQ(applied["engine"], record["arm"] == "candidate" ? "fused" : "mlx");
    EXPECT_EQ(applied["moved_layers"], 2);
    EXPECT_EQ(applied["adapted_linears"], 14);
    EXPECT_EQ(applied["quantized_linears"], 14);
    EXPECT_EQ(applied["updates"], 40);
    if (record["arm"] == "baseline") {
      EXPECT_EQ(applied["served"], (Json{{"lora_linear", {{"standard", 2}}}, {"swiglu", {{"standard", 2}}}, {"head_loss", {{"standard", 1}}}}));
    }
  }
  good({"bench", "--verify", path("bench")});
}

TEST_F(CliBenchMlx, TheOptimizedSetAgainstTheStandardSetIsTheSameTraining) {
  good(arms({"engine=mlx", path("standard.json")}, {"engine=mlx", path("optimized.json")}, {"--pairs", "5"}));
  expect_valid_and_the_same_training();
  for (const Json& record : records()) {
    if (record["arm"] != "candidate") continue;
    EXPECT_EQ(record["notes"]["applied"]["served"],
              (Json{{"lora_linear", {{"optimized", 2}, {"grouped", 2}}}, {"swiglu", {{"optimized", 2}}}, {"head_loss", {{"optimized", 1}}}}));
  }
}

TEST_F(CliBenchMlx, DoraIsTheSameTrainingWithEitherSet) {
  good(arms({"mlx", "dora", path("standard.json")}, {"mlx", "dora", path("optimized.json")}, {"--pairs", "5"}));
  expect_valid_and_the_same_training();
}

// A program that runs the standard set where the optimized one was asked for.
TEST_F(CliBenchMlx, ASilentFallbackIsCaught) {
  const std::string program = saboteur("plain.sh", "sed -i 's#optimized.json#standard.json#' \"$request\"");
  good(arms({"engine=mlx", path("standard.json")}, {"engine=mlx", path("optimized.json"), "program=" + program}, {"--pairs", "2"}));
  EXPECT_EQ(invalid_reason().rfind("candidate_not_applied: slot lora_linear: expected \"grouped\", ran \"standard\"", 0), 0U) << invalid_reason();
}

TEST_F(CliBenchMlx, ABaselineThatIsNotPlainIsCaught) {
  const std::string program = saboteur("fast.sh", "sed -i 's#standard.json#optimized.json#' \"$request\"");
  good(arms({"engine=mlx", path("standard.json"), "program=" + program}, {"engine=fused"}, {"--pairs", "2"}));
  for (const Json& record : records()) {
    if (record["arm"] == "baseline") {
      EXPECT_EQ(record["reason"].get<std::string>().rfind("baseline_not_plain: slot lora_linear", 0), 0U) << record["reason"];
    }
  }
}

TEST_F(CliBenchMlx, AnotherEngineIsCaught) {
  const std::string program = saboteur("fused.sh", "sed -i '/\"engine\"/d' \"$request\"");
  good(arms({"engine=fused"}, {"engine=mlx", path("standard.json"), "program=" + program}, {"--pairs", "2"}));
  EXPECT_EQ(invalid_reason(), "candidate_not_applied: expected engine mlx, ran \"fused\"");
}

// Nothing is silent here, but a candidate that fell back everywhere measures the baseline.
TEST_F(CliBenchMlx, AReplacementThatServesNoBlockIsNotACandidate) {
  write("arm.json", R"({"train": {"engine": "mlx", "recipe": ")" + path("optimized.json") +
                        R"(", "lora_parameters": {"rank": 8, "scale": 20.0, "dropout": 0.1}}})");
  good(arms({"engine=mlx", path("standard.json")}, {path("arm.json")}, {"--pairs", "2"}));
  EXPECT_EQ(
      invalid_reason().rfind("candidate_not_applied: slot lora_linear: grouped ran in none of 2 blocks: lora_linear grouped does not apply to", 0),
      0U)
      << invalid_reason();
}

TEST_F(CliBenchMlx, NoQuantizedLayersIsAReason) {
  const fs::path dense = fs::path(EVOLORA_SOURCE_DIR) / "tests" / "data" / "tiny_qwen2_golden" / "model";
  for (const char* name : {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"})
    write("model/" + std::string(name), text_of(dense / name));
  good(arms({"engine=mlx", path("standard.json")}, {"engine=mlx", path("optimized.json"), "requires=quantized_layers"}, {"--pairs", "2"}));
  EXPECT_EQ(invalid_reason(), "no_quantized_layers: none of the adapted linears is quantized");
}

TEST_F(CliBenchMlx, ASkippedLayerIsCaught) {
  const std::string program = saboteur("skip.sh", "sed -i 's/\"num_layers\": -1/\"num_layers\": 1/' \"$request\"");
  good(arms({"engine=mlx", path("standard.json")}, {"engine=mlx", path("optimized.json"), "program=" + program}, {"--pairs", "2"}));
  EXPECT_EQ(invalid_reason(), "layers_skipped: expected 2 adapted blocks, got 1");
}

}  // namespace
}  // namespace evolora
