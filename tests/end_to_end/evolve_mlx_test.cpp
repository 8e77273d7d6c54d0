// `evolora evolve run --pack` of packs on MLX: from mlx-lm's dequantizing DoRA to the one without a dense weight, by a language model's answer that
// is recorded and replayed, and by parameters; confirmed, exported, trained with; and nothing claimed for what is the same.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "cli_support.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class EvolveMlx : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    if (!fs::exists(fs::path(EVOLORA_BUILD_DIR) / "evolora_mlx_engine.so")) GTEST_SKIP() << "built without the MLX engine";
    write("data/train.jsonl", completions(24));
    write("data/valid.jsonl", completions(8));
  }
  static std::string example(const std::string& name) { return std::string(EVOLORA_SOURCE_DIR) + "/examples/packs/mlx/" + name; }
  static bool no_sandbox(const ProcessResult& result) {
    return result.exit_status == 2 && result.standard_error.find("sandbox") != std::string::npos;
  }
  // One line of output, and status 2.
  static void expect_error(const ProcessResult& result, const std::string& part) {
    EXPECT_EQ(result.exit_status, 2) << part;
    EXPECT_THAT(result.standard_error, HasSubstr(part));
    EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1) << result.standard_error;
  }
  // Small calls; and speed is of no matter here.
  static std::vector<std::string> small(const std::string& pairs, const std::string& rows) {
    return {"--pairs", pairs, "--rows", rows, "--finalists", "1", "--islands", "1", "--time-may-grow", "100000%"};
  }
  ProcessResult search(const std::string& out, const std::string& pack, std::vector<std::string> more, const std::vector<std::string>& flags) {
    more.insert(more.begin(), {"evolve", "run", "--pack", pack, "--out", path(out)});
    more.insert(more.end(), flags.begin(), flags.end());
    return run(more);
  }
  // The answer of a language model that knows the pack dora_linear_factored.
  std::string factored_answer() {
    const std::string text = text_of(example("dora_linear_factored") + "/kernel.cpp"), start = "// EVOLVE-BLOCK-START\n";
    const std::size_t begin = text.find(start) + start.size();
    return "Without a dense weight.\n```cpp\n" + text.substr(begin, text.find("// EVOLVE-BLOCK-END") - begin) + "```\n";
  }
  void write_llm_config(const std::string& endpoint) {
    write("llm.yaml", "llm:\n" + endpoint + "  models: [{name: writer}]\noperators: {rewrite: 1}\n");
  }
  static constexpr const char* kQueue = "  manual_mode: true\n";
  static constexpr const char* kNobody = "  api_base: http://127.0.0.1:9/v1\n  retries: 0\n";

  Json show(const std::string& out, const std::string& number) {
    return Json::parse(run({"evolve", "show", path(out), number, "--json"}).standard_output);
  }
  Json status(const std::string& out) { return Json::parse(run({"evolve", "status", path(out), "--json"}).standard_output); }
};

TEST_F(EvolveMlx, TheFactoredDoraIsFoundConfirmedExportedAndTrainedWith) {
  write_llm_config(kQueue);
  write("s/llm/queue/000000.answer.md", factored_answer());
  const ProcessResult result = search("s", example("dora_linear"), small("1", "8"),
                                      {"--llm", path("llm.yaml"), "--budget-evaluations", "1", "--model", path("model"), "--data", path("data"),
                                       "--iters", "6", "--num-layers", "-1", "--batch-size", "2", "--learning-rate", "1e-3", "--confirm-pairs", "5"});
  if (no_sandbox(result)) GTEST_SKIP() << result.standard_error;
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_THAT(result.standard_output, HasSubstr("objective memory"));
  EXPECT_THAT(result.standard_output, HasSubstr("Better than the start: other code"));

  const Json first = show("s", "1");
  EXPECT_EQ(first["judgement"]["details"]["gates"].dump(), R"(["parse","rules","compile","numerics","determinism","microbenchmark","training"])");
  // At 8 rows nearly all memory is the dense weights that the start makes.
  EXPECT_GT(first["fitness"].get<double>(), std::log(2.0)) << first["judgement"].dump(1);
  EXPECT_EQ(first["candidate"]["genome"].dump(), R"({"kDenseProducts":false,"kKeepXa":true})") << "the parameters that its own code declares";
  const std::string prompt = text_of(folder_ / "s/llm/queue/000000.prompt.md");
  EXPECT_THAT(prompt, HasSubstr("Slot dora_linear (Liu et al. 2024"));
  EXPECT_THAT(prompt, HasSubstr("peak memory of the start's program"));

  const Json end = status("s");
  ASSERT_TRUE(end["winner"].is_object()) << end.dump(2);
  EXPECT_EQ(end["winner"]["verdict"]["memory"], "better");
  EXPECT_THAT(run({"evolve", "best", path("s")}).standard_output, HasSubstr("Training with it: speed "));
  EXPECT_THAT(run({"evolve", "show", path("s"), "1"}).standard_output, HasSubstr(" MiB, baseline "));
  // Goes on from the archive: nothing is judged again.
  const ProcessResult again = run({"evolve", "run", "--out", path("s"), "--resume", "--llm", path("llm.yaml")});
  EXPECT_EQ(again.exit_status, 0) << again.standard_error;
  EXPECT_EQ(status("s"), end);

  const ProcessResult exported = run({"evolve", "best", path("s"), "--export", path("best")});
  ASSERT_EQ(exported.exit_status, 0) << exported.standard_error;
  EXPECT_THAT(exported.standard_output, HasSubstr("evolora train --train --engine mlx --fine-tune-type dora --recipe"));
  const Json confirmation = Json::parse(text_of(folder_ / "best/proof.json"))["confirmation"];
  EXPECT_EQ(confirmation["log_memory"].size(), 3u);
  const Json training = confirmation["details"]["training"];
  EXPECT_EQ(training["log_memory"].size(), 5u) << training.dump(1);
  int passed = 0;
  for (const Json& gate : training["verdict"]["gates"]) {
    if (gate["state"] == "pass") ++passed;
  }
  EXPECT_EQ(passed, 2) << "loss and progress; " << training["verdict"].dump(1);
  ASSERT_EQ(run(train({"--engine", "mlx", "--fine-tune-type", "dora", "--recipe", path("best/recipe.json"), "--iters", "1", "--val-batches", "0"}))
                .exit_status,
            0);
  const Json applied = Json::parse(text_of(folder_ / "adapter/run.json"))["applied"];
  EXPECT_THAT(applied["kernels"]["lora_linear"].get<std::string>(), testing::StartsWith("pack:"));
}

TEST_F(EvolveMlx, ARecordedAnswerIsReplayed) {
  // The start is judged, and then nobody answers.
  write_llm_config(kNobody);
  const ProcessResult stopped =
      search("s", example("dora_linear"), small("1", "1"), {"--llm", path("llm.yaml"), "--budget-evaluations", "1", "--kernels-only"});
  if (no_sandbox(stopped)) GTEST_SKIP() << stopped.standard_error;
  expect_error(stopped, "no answer from model 'writer'");
  fs::copy(folder_ / "s", folder_ / "replayed", fs::copy_options::recursive);
  // Somebody does.
  write_llm_config(kQueue);
  write("s/llm/queue/000000.answer.md", factored_answer());
  const ProcessResult answered = run({"evolve", "run", "--out", path("s"), "--resume", "--llm", path("llm.yaml")});
  ASSERT_EQ(answered.exit_status, 0) << answered.standard_error;
  // The record does.
  const ProcessResult replayed = run({"evolve", "run", "--out", path("replayed"), "--resume", "--llm", path("llm.yaml"), "--replay", path("s")});
  ASSERT_EQ(replayed.exit_status, 0) << replayed.standard_error;
  EXPECT_FALSE(fs::exists(folder_ / "replayed/llm/queue"));
  const Json first = show("s", "1"), second = show("replayed", "1");
  EXPECT_EQ(second["candidate"], first["candidate"]);
  EXPECT_EQ(second["record"], first["record"]);
  for (const char* out : {"s", "replayed"}) EXPECT_EQ(status(out)["winner"]["verdict"]["memory"], "better") << status(out).dump(2);
}

TEST_F(EvolveMlx, NothingIsClaimedForWhatIsTheSame) {
  std::string text = text_of(example("dora_linear") + "/kernel.cpp");
  for (std::size_t at = text.find("  // evolve: "); at != std::string::npos; at = text.find("  // evolve: "))
    text.erase(at, text.find('\n', at) - at);
  const std::string start = "EVOLVE-BLOCK-START\n";
  text.insert(text.find(start) + start.size(), "constexpr bool kNothing = false;  // evolve: bool\n");
  write("pack/kernel.cpp", text);
  write("pack/pack.json", text_of(example("dora_linear") + "/pack.json"));
  const ProcessResult result = search("s", path("pack"), small("3", "8"), {"--proposer", "hill", "--budget-evaluations", "3", "--kernels-only"});
  if (no_sandbox(result)) GTEST_SKIP() << result.standard_error;
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_EQ(show("s", "1")["candidate"]["genome"].dump(), R"({"kNothing":true})");
  EXPECT_EQ(show("s", "1")["judgement"]["outcome"], "scored");
  EXPECT_THAT(result.standard_output, HasSubstr("No candidate beat the baseline."));
  EXPECT_TRUE(status("s")["winner"].is_null());
  expect_error(run({"evolve", "best", path("s"), "--export", path("best")}), "there is no confirmed candidate to write");
}

// What `evolve init` writes, command by command, each with a smaller budget than it has.
TEST_F(EvolveMlx, TheCommandsOfAStartingFolderWork) {
  ASSERT_EQ(
      run({"evolve", "init", path("mine"), "--target", "mlx", "--slot", "lora_linear", "--model", path("model"), "--data", path("data")}).exit_status,
      0);
  std::vector<std::vector<std::string>> commands;
  std::istringstream readme(text_of(folder_ / "mine/README.md"));
  for (std::string line; std::getline(readme, line);) {
    if (!line.starts_with("evolora ")) continue;
    std::istringstream words(line);
    std::string word;
    words >> word;
    commands.emplace_back();
    while (words >> word) commands.back().push_back(word);
  }
  ASSERT_EQ(commands.size(), 6u);
  const auto shortened = [&](std::size_t number, std::vector<std::string> more) {
    more.insert(more.begin(), commands[number].begin(), commands[number].end());
    return run(more);
  };
  std::vector<std::string> budget = small("1", "2");
  budget.insert(budget.end(), {"--budget-evaluations", "1"});
  std::vector<std::string> compared = budget;
  compared.insert(compared.end(), {"--compare", "tpe,hill", "--objective", "both"});
  const ProcessResult kernels = shortened(0, compared);
  if (no_sandbox(kernels)) GTEST_SKIP() << kernels.standard_error;
  ASSERT_EQ(kernels.exit_status, 0) << kernels.standard_error;
  const Json runs = status("mine/kernels")["runs"];
  ASSERT_EQ(runs.size(), 2u);
  for (const Json& each : runs) EXPECT_EQ(each["evaluations"], 1) << each.dump();

  std::vector<std::string> training = budget;
  training.insert(training.end(), {"--iters", "2", "--num-layers", "-1", "--batch-size", "2", "--confirm-pairs", "5", "--objective", "speed"});
  const ProcessResult trained = shortened(1, training);
  EXPECT_EQ(trained.exit_status, 0) << trained.standard_error;
  write("mine/evolve.yaml", "llm:\n" + std::string(kNobody) + "  name: nobody\n");
  expect_error(shortened(2, training), "no answer from model");
  const ProcessResult best = shortened(3, {});
  const bool claimed = status("mine/trained")["winner"].is_object();
  EXPECT_EQ(best.exit_status, claimed ? 0 : 2) << best.standard_error;
  EXPECT_THAT(shortened(4, {"--pairs", "2"}).standard_output, HasSubstr("memory saving"));
  EXPECT_EQ(
      shortened(5, {"--iters", "1", "--val-batches", "0", "--num-layers", "-1", "--batch-size", "2", "--adapter-path", path("adapter")}).exit_status,
      0);
}

TEST_F(EvolveMlx, MistakesAreSaidInOneLine) {
  const std::string pack = example("dora_linear");
  const std::vector<std::string> trained = {"--model", path("model"), "--data", path("data")};
  const auto with = [](std::vector<std::string> some, const std::vector<std::string>& more) {
    some.insert(some.end(), more.begin(), more.end());
    return some;
  };
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "--model is missing"},
      {{"--model", path("model")}, "--data is missing"},
      {{"--kernels-only", "--objective", "size"}, "objective: expected speed, memory or both"},
      {{"--kernels-only", "--rows", "70000"}, "--rows: expected a whole number from 0 to 65536"},
      {{"--kernels-only", "--iters", "4"}, "iters: nothing is trained with --kernels-only"},
      {{"--kernels-only", "--time-may-grow", "a lot"}, "--time-may-grow: expected a share"},
      {with(trained, {"--threads", "2"}), "threads: MLX decides"},
      {with(trained, {"--start", "plain"}), "--start: a pack for mlx"},
      {with(trained, {"--device", "gpu"}), "device: expected cpu"},
      {with(trained, {"--engine", "fused"}), "engine: expected mlx"},
      {with(trained, {"--fine-tune-type", "lora"}), "fine_tune_type: the pack's slots decide it (dora_linear), got lora"},
      {with(trained, {"--kernels", "optimized"}), "kernels: the search decides it"},
  };
  for (const auto& [arguments, part] : cases) expect_error(search("s", pack, arguments, {}), part);
  write("config.yaml", "lora_parameters: {rank: 4, scale: 2.0, dropout: 0.1}\n");
  expect_error(search("s", pack, with(trained, {"--config", path("config.yaml")}), {}),
               "lora_parameters.dropout: packs for mlx serve linears without");
  expect_error(run({"evolve", "run", "--rows", "8", "--out", path("s")}), "--rows: expected a kernel pack");
  EXPECT_FALSE(fs::exists(folder_ / "s"));
}

TEST_F(EvolveMlx, WithoutMlxThatIsSaid) {
  // The program as it is where MLX was not there to build with: alone.
  fs::create_directories(folder_ / "alone");
  fs::copy_file(EVOLORA_BINARY, folder_ / "alone/evolora");
  ProcessRequest request;
  request.argv = {path("alone/evolora"), "evolve", "run", "--pack", example("dora_linear"), "--kernels-only", "--out", path("s")};
  request.standard_output = request.standard_error = ProcessOutput::kCapture;
  const auto result = run_process(request);
  ASSERT_TRUE(result.ok()) << result.error().message;
  if (no_sandbox(*result)) GTEST_SKIP() << result->standard_error;
  expect_error(*result, "evolora_mlx_pack_worker: does not exist");
}

}  // namespace
}  // namespace evolora
