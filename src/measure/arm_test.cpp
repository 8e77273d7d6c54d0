// Words and files to arms; reading external output; what an applied record must show.
#include "measure/arm.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/test_folder.h"
#include "engine/mlx_recipe.h"
#include "measure/applied_proof.h"
#include "measure/trial_runner.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Result<Arm> arm_of(const std::vector<std::string>& words) { return parse_arm(real_file_system(), words, "/usr/bin/evolora", "--candidate"); }

std::string error_of(const std::vector<std::string>& words) {
  const auto arm = arm_of(words);
  return arm.ok() ? "" : arm.error().message;
}

TEST(Arm, WordsSetKeys) {
  const auto arm =
      arm_of({"kernels=reference", "learning_rate=2e-5", "--batch-size=2", "program=/tmp/other", "name=mine", "requires=quantized_layers"});
  ASSERT_TRUE(arm.ok()) << arm.error().message;
  EXPECT_EQ(arm->settings, Json::parse(R"({"kernels":"reference","learning_rate":2e-5,"batch_size":2})"));
  EXPECT_EQ(arm->program, "/tmp/other");
  EXPECT_EQ(arm->name, "mine");
  EXPECT_TRUE(arm->requires_quantized_layers);
}

TEST(Arm, ShortFormsAndTheEngine) {
  EXPECT_EQ(arm_of({"reference"})->settings, Json::parse(R"({"kernels":"reference"})"));
  EXPECT_EQ(arm_of({"mlx"})->settings, Json::parse(R"({"engine":"mlx"})"));
  EXPECT_EQ(arm_of({"engine=fused"})->settings, Json::object());
  EXPECT_EQ(arm_of({"lora"})->settings, Json::parse(R"({"fine_tune_type":"lora"})"));
}

TEST(Arm, MistakesAreNamed) {
  EXPECT_NE(error_of({"kernel=cpu"}).find("unknown key 'kernel'; did you mean 'kernels'"), std::string::npos) << error_of({"kernel=cpu"});
  EXPECT_NE(error_of({"batch_size=two"}).find("whole number"), std::string::npos);
  EXPECT_NE(error_of({"faster"}).find("got 'faster'"), std::string::npos);
  EXPECT_NE(error_of({"requires=magic"}).find("quantized_layers"), std::string::npos);
}

TEST(Arm, FilesAreRecipesOrArms) {
  TestFolder folder;
  write_test_file(folder / "recipe.json", R"({"threads": 1})");
  write_test_file(folder / "arm.json", R"({"name": "a", "train": {"threads": 1}, "environment": {"LD_PRELOAD": "blas.so"}})");
  write_test_file(folder / "external.json", R"({"name": "b", "command": ["run", "--seed", "{seed}", "{model}"], "read": {"train_loss": "/loss"}})");
  write_test_file(folder / "wrong.json", R"({"command": ["x"], "reads": {}})");
  EXPECT_EQ(arm_of({(folder / "recipe.json").string()})->settings["recipe"], (folder / "recipe.json").string());
  const auto arm = arm_of({(folder / "arm.json").string()});
  EXPECT_EQ(arm->program, "/usr/bin/evolora");
  EXPECT_EQ(arm->settings["threads"], 1);
  EXPECT_EQ(arm->environment.at("LD_PRELOAD"), "blas.so");
  EXPECT_FALSE(arm_to_json(*arm_of({"cpu"})).contains("environment")) << "plans without one keep their digest";
  const auto external = arm_of({(folder / "external.json").string()});
  ASSERT_TRUE(external.ok()) << external.error().message;
  const auto words = expand_command(*external, {{"seed", 7}, {"model", "m"}});
  EXPECT_EQ(*words, (std::vector<std::string>{"run", "--seed", "7", "m"}));
  EXPECT_FALSE(expand_command(*external, {{"seed", 7}}).ok());
  EXPECT_NE(error_of({(folder / "wrong.json").string()}).find("did you mean 'read'"), std::string::npos);
  write_test_file(folder / "number.json", R"({"train": {}, "environment": {"THREADS": 1}})");
  EXPECT_NE(error_of({(folder / "number.json").string()}).find("environment.THREADS: expected a text"), std::string::npos);
  for (const Arm& one : {*arm, *external}) {
    const auto again = arm_from_json(arm_to_json(one), "x");
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(arm_to_json(*again), arm_to_json(one));
  }
}

TEST(Arm, RequestsAreCheckedWithTheArmsName) {
  const Json common = {{"model", "m"}, {"data", "d"}, {"epochs", 1.0}};
  const auto request = request_of_arm(*arm_of({"iters=5"}), common);
  ASSERT_TRUE(request.ok()) << request.error().message;
  EXPECT_FALSE(request->contains("epochs"));
  Arm wrong = *arm_of({});
  wrong.name = "wrong";
  wrong.settings["batch_sise"] = 1;
  const auto refused = request_of_arm(wrong, common);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("arm 'wrong'"), std::string::npos) << refused.error().message;
}

TEST(OutputReader, FindsFiguresInJsonAndText) {
  const auto reader = OutputReader::from_json(
      Json::parse(R"x({"train_loss": {"regex": "Train loss ([0-9.]+)"}, "tokens": {"regex": "Tokens ([0-9,]+)"}, "val_loss": "/eval/loss"})x"), "x");
  ASSERT_TRUE(reader.ok()) << reader.error().message;
  const auto found =
      reader->read("Iter 1: Train loss 2.5, Tokens 1,024\n{\"eval\": {\"loss\": 3}}\n{broken\nnoise\rIter 2: Train loss 2.25, Tokens 2,048");
  EXPECT_EQ(found.at("train_loss"), (std::vector<double>{2.5, 2.25}));
  EXPECT_EQ(found.at("tokens"), (std::vector<double>{1024, 2048}));
  EXPECT_EQ(found.at("val_loss"), (std::vector<double>{3}));
  EXPECT_TRUE(reader->read(std::string(1 << 20, 'T')).empty());
}

// What mlx_lm.lora 0.32 prints, colours and arrows and all, read by the arm file that we ship.
TEST(OutputReader, ReadsWhatMlxLmPrints) {
  const auto arm = read_json_object(real_file_system(), fs::path(EVOLORA_SOURCE_DIR) / "bench/arms/mlx_lm.json");
  ASSERT_TRUE(arm.ok()) << arm.error().message;
  const auto parsed = arm_from_json(*arm, "mlx_lm.json");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  const auto found = parsed->reader.read(
      "Trainable parameters: 0.121% (0.163M/134.515M)\n  \x1b[1miter   train_loss     tok/s     tokens\x1b[0m\n"
      "  \x1b[38;5;244m   1\x1b[0m    \x1b[1;35mval\x1b[0m \x1b[1m3.397\x1b[0m    \x1b[38;5;244m16.38s\x1b[0m\n"
      "  \x1b[38;5;244m  25\x1b[0m    \x1b[1;32m3.619 \u25bc\x1b[0m    \x1b[1m   23\x1b[0m    \x1b[38;5;244m  0.4k\x1b[0m\n"
      "  \x1b[38;5;244m1200\x1b[0m    \x1b[1;33m13.720 \u25b2\x1b[0m    \x1b[1m1,234\x1b[0m    \x1b[38;5;244m143.4k\x1b[0m\n"
      "  \x1b[38;5;244m1200\x1b[0m    \x1b[1;35mval\x1b[0m \x1b[1m3.314\x1b[0m    \x1b[38;5;244m8.38s\x1b[0m\n"
      "\x1b[1mtrain\x1b[0m \u2588\u2588 \x1b[1m 33%\x1b[0m \x1b[1m    1\x1b[0m/3\x1b[");
  EXPECT_EQ(found.at("train_loss"), (std::vector<double>{3.619, 13.72}));
  EXPECT_EQ(found.at("val_loss"), (std::vector<double>{3.397, 3.314}));
  EXPECT_EQ(found.at("tokens"), (std::vector<double>{0.4 * 1000, 143.4 * 1000}));
  EXPECT_EQ(found.at("steps"), (std::vector<double>{25, 1200}));
}

TEST(Arm, TheArmFilesOfTheRepositoryAreArms) {
  const fs::path folder = fs::path(EVOLORA_SOURCE_DIR) / "bench/arms";
  const Json common = {{"model", "m"},           {"data", "d"},       {"iters", 50},
                       {"batch_size", 4},        {"num_layers", 16},  {"learning_rate", 1e-4},
                       {"max_seq_length", 1024}, {"val_batches", -1}, {"steps_per_report", 25},
                       {"steps_per_eval", 50}};
  for (const char* name : {"mlx_lm.json", "peft.json", "fused_as_peft.json"}) {
    const auto arm = arm_of({(folder / name).string()});
    ASSERT_TRUE(arm.ok()) << arm.error().message;
    if (!arm->external()) {
      EXPECT_TRUE(request_of_arm(*arm, common).ok()) << name;
      continue;
    }
    Json values = common;
    values["seed"] = 7;
    values["out"] = "o";
    const auto command = expand_command(*arm, values);
    ASSERT_TRUE(command.ok()) << command.error().message;
    for (const std::string& word : *command) EXPECT_EQ(word.find('{'), std::string::npos) << word;
  }
}

TEST(OutputReader, DeclarationsAreChecked) {
  for (const char* wrong :
       {R"({"loss": "/a"})", R"({"train_loss": "a"})", R"x({"train_loss": {"regex": "("}})x", R"({"train_loss": {"regex": "no group"}})", R"([1])",
        R"x({"tokens": {"regex": "(1)", "scale": 0}})x", R"x({"tokens": {"regex": "(1)", "scal": 2}})x", R"x({"tokens": {"scale": 2}})x"}) {
    EXPECT_FALSE(OutputReader::from_json(Json::parse(wrong), "x").ok()) << wrong;
  }
}

// ---- applied proof

Json good_run() {
  return Json::parse(
      R"({"steps": 10, "applied": {"engine": "fused", "kernels": {"rope": "cpu"}, "adapted_layers": 2, "model_layers": 3, "quantized_linears": 14,
    "updates": 10, "layers": [{"lora_linear": [40, 0]}, {"lora_linear": [40, 40]}, {"lora_linear": [40, 40]}]}})");
}
AppliedExpectation good_expectation() { return {.kernels = Json{{"rope", "cpu"}}, .model_layers = 3, .adapted_layers = 2, .quantized = true}; }

std::string proof_of(const Json& run, ArmRole role = ArmRole::kCandidate) { return missing_proof(good_expectation(), run, role).value_or(""); }

TEST(AppliedProof, AGoodRecordIsProof) { EXPECT_EQ(proof_of(good_run()), ""); }

TEST(AppliedProof, WhatIsMissingIsNamed) {
  Json run = good_run();
  run["applied"]["kernels"]["rope"] = "reference";
  EXPECT_EQ(proof_of(run).rfind("candidate_not_applied: slot rope", 0), 0U) << proof_of(run);
  EXPECT_EQ(proof_of(run, ArmRole::kBaseline).rfind("baseline_not_plain", 0), 0U);
  run = good_run();
  run["applied"]["engine"] = "mlx";
  EXPECT_EQ(proof_of(run).rfind("candidate_not_applied: expected engine fused", 0), 0U);
  run = good_run();
  run["applied"]["quantized_linears"] = 0;
  EXPECT_EQ(proof_of(run).rfind("no_quantized_layers", 0), 0U);
  run = good_run();
  run["applied"]["adapted_layers"] = 1;
  EXPECT_EQ(proof_of(run).rfind("layers_skipped", 0), 0U);
  run = good_run();
  run["applied"]["layers"][2]["lora_linear"][1] = 9;
  EXPECT_EQ(proof_of(run), "layers_skipped: block 2 ran 9 backward calls of lora_linear in 10 steps");
  run = good_run();
  run["applied"]["updates"] = 0;
  EXPECT_EQ(proof_of(run).rfind("no_updates", 0), 0U);
  run.erase("applied");
  EXPECT_EQ(proof_of(run).rfind("no_applied_record", 0), 0U);
}

Json good_mlx_run() {
  return Json::parse(
      R"({"steps": 10, "applied": {"engine": "mlx", "kernels": {"lora_linear": "grouped", "swiglu": "optimized", "head_loss": "optimized"},
    "served": {"lora_linear": {"optimized": 2, "grouped": 2}, "swiglu": {"optimized": 2}, "head_loss": {"optimized": 1}}, "fallbacks": [],
    "adapted_layers": 2, "moved_layers": 2, "model_layers": 3, "quantized_linears": 14, "updates": 10,
    "layers": [{"lora_linear": [84, 0]}, {"lora_linear": [84, 70]}, {"lora_linear": [84, 70]}]}})");
}

MlxRecipe everything_replaced() {
  return {.lora_linear = MlxLoraLinear::kGrouped, .swiglu = MlxSwiglu::kOptimized, .head_loss = MlxHeadLoss::kOptimized};
}

std::string mlx_proof_of(const Json& run, const MlxRecipe& recipe = everything_replaced(), ArmRole role = ArmRole::kCandidate) {
  const Json kernels = {{"lora_linear", word(recipe.lora_linear)}, {"swiglu", word(recipe.swiglu)}, {"head_loss", word(recipe.head_loss)}};
  return missing_proof({.engine = "mlx", .kernels = kernels, .model_layers = 3, .adapted_layers = 2}, run, role).value_or("");
}

TEST(AppliedProof, OfTheMlxEngineCountsBlocksBySlot) {
  EXPECT_EQ(mlx_proof_of(good_mlx_run()), "");
  // A block that fell back and says so leaves the trial valid.
  Json run = good_mlx_run();
  run["applied"]["served"]["lora_linear"] = {{"standard", 1}, {"optimized", 1}, {"grouped", 1}};
  run["applied"]["fallbacks"] = Json::parse(R"([{"slot": "lora_linear", "reason": "lora_linear grouped does not apply to o: x", "layers": [2]}])");
  EXPECT_EQ(mlx_proof_of(run), "");
  // The same without a word, or with the word of another slot, does not.
  run["applied"]["fallbacks"][0]["slot"] = "swiglu";
  EXPECT_EQ(mlx_proof_of(run), "candidate_not_applied: slot lora_linear: grouped ran in 1 and standard in 1 of 2 blocks, and nothing says why");
  run["applied"]["served"]["lora_linear"] = {{"standard", 1}, {"optimized", 2}, {"grouped", 2}};  // one group of one block
  EXPECT_EQ(mlx_proof_of(run), "candidate_not_applied: slot lora_linear: grouped ran in 2 and standard in 1 of 2 blocks, and nothing says why");
  // Nothing was replaced: no amount of reasons makes it the candidate.
  run["applied"]["served"]["lora_linear"] = {{"standard", 2}};
  run["applied"]["fallbacks"] = Json::parse(R"([{"slot": "lora_linear", "reason": "dropout", "layers": [1, 2]}])");
  EXPECT_EQ(mlx_proof_of(run), "candidate_not_applied: slot lora_linear: grouped ran in none of 2 blocks: dropout");
}

TEST(AppliedProof, OfThePlainMlxEngineAllowsNoReplacement) {
  Json run = good_mlx_run();
  EXPECT_EQ(mlx_proof_of(run, standard_mlx_recipe(), ArmRole::kBaseline).rfind("baseline_not_plain: slot lora_linear: expected \"standard\"", 0), 0U);
  run["applied"]["kernels"] = {{"lora_linear", "standard"}, {"swiglu", "standard"}, {"head_loss", "standard"}};
  run["applied"]["served"] = Json::parse(R"({"lora_linear": {"standard": 2}, "swiglu": {"standard": 2}, "head_loss": {"standard": 1}})");
  EXPECT_EQ(mlx_proof_of(run, standard_mlx_recipe(), ArmRole::kBaseline), "");
  run["applied"]["served"]["swiglu"]["optimized"] = 1;
  EXPECT_EQ(mlx_proof_of(run, standard_mlx_recipe(), ArmRole::kBaseline).rfind("baseline_not_plain: slot swiglu: expected standard alone", 0), 0U);
  run["applied"]["served"] = "all of them";
  EXPECT_EQ(mlx_proof_of(run, standard_mlx_recipe(), ArmRole::kBaseline).rfind("baseline_not_plain: slot", 0), 0U);
}

TEST(AppliedProof, BlocksThatDidNotMoveWereNotTrained) {
  Json run = good_mlx_run();
  run["applied"]["moved_layers"] = 1;
  EXPECT_EQ(mlx_proof_of(run), "layers_skipped: the parameters of 1 of 2 adapted blocks changed");
  run["applied"].erase("moved_layers");
  EXPECT_EQ(mlx_proof_of(run), "layers_skipped: the parameters of 0 of 2 adapted blocks changed");
}

TEST(Contradiction, TheChildsClockAndMemoryAreChecked) {
  const Json run = {{"wall_seconds", 9.8}, {"training_seconds", 8}, {"peak_rss_bytes", 500e6}};
  EXPECT_FALSE(contradiction(run, 10, 505e6).has_value());
  EXPECT_EQ(contradiction(run, 9, 505e6)->rfind("clock_disagrees", 0), 0U);
  EXPECT_EQ(contradiction(run, 15, 505e6)->rfind("clock_disagrees", 0), 0U);
  EXPECT_EQ(contradiction(run, 10, 600e6)->rfind("memory_disagrees", 0), 0U);
  Json boasting = run;
  boasting["training_seconds"] = 11;
  EXPECT_EQ(contradiction(boasting, 10, 505e6)->rfind("clock_disagrees", 0), 0U);
  EXPECT_TRUE(contradiction(Json::object(), 10, 505e6).has_value());
}

}  // namespace
}  // namespace evolora
