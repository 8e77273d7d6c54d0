// `evolora evolve run --pack` as a person meets it: parameters of a pack tuned, the winner confirmed, exported and trained with; a stopped search
// goes on; a language model's edits judged and recorded.
#include <gmock/gmock.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "cli_support.h"
#include "small_pack.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class EvolvePack : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    for (const char* split : {"train", "valid"}) write("data/" + std::string(split) + ".jsonl", completions(24));
    write("pack/pack.json", kSmallPackManifest);
    write("pack/kernel.cpp", kSmallPack);
  }
  static bool no_sandbox(const ProcessResult& result) {
    return result.exit_status == 2 && result.standard_error.find("sandbox") != std::string::npos;
  }
  std::vector<std::string> search(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"evolve", "run", "--pack", path("pack"), "--pairs", "3", "--finalists", "1", "--out", path("s")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  // Long enough for the meter, which looks at a small process in a sandbox twenty times a second.
  std::vector<std::string> with_training() const {
    return {"--model", path("model"), "--data", path("data"), "--iters", "25", "--num-layers", "-1", "--batch-size", "2", "--confirm-pairs", "5"};
  }
  Json show(const std::string& number) { return Json::parse(run({"evolve", "show", path("s"), number, "--json"}).standard_output); }
};

TEST_F(EvolvePack, AParameterIsTunedConfirmedExportedAndTrainedWith) {
  std::vector<std::string> arguments = search({"--budget-evaluations", "2", "--proposer", "hill", "--islands", "1"});
  for (const std::string& word : with_training()) arguments.push_back(word);
  const ProcessResult result = run(arguments);
  if (no_sandbox(result)) GTEST_SKIP() << result.standard_error;
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_THAT(result.standard_output, HasSubstr("Better than the start: kTile 1 -> "));
  EXPECT_THAT(result.standard_output, HasSubstr("training with it: speed "));

  const Json first = show("1");
  EXPECT_EQ(first["judgement"]["details"]["gates"].back(), "training") << first["judgement"].dump(2);
  const Json training = first["judgement"]["details"]["training"];
  EXPECT_EQ(training["candidate"][0]["train_loss"], training["baseline"][0]["train_loss"]) << "the same work, repeated less often";
  const ProcessResult shown = run({"evolve", "show", path("s"), "1"});
  EXPECT_THAT(shown.standard_output, HasSubstr("-constexpr int kTile = 1;  // evolve: int 1..4\n+constexpr int kTile = 2;"));

  // Goes on from the archive: nothing is judged again.
  const ProcessResult again = run({"evolve", "run", "--out", path("s"), "--resume"});
  EXPECT_EQ(again.exit_status, 0) << again.standard_error;
  EXPECT_THAT(again.standard_output, HasSubstr("Better than the start: kTile 1 -> "));

  const ProcessResult exported = run({"evolve", "best", path("s"), "--export", path("best")});
  ASSERT_EQ(exported.exit_status, 0) << exported.standard_error;
  EXPECT_EQ(run(train({"--recipe", path("best/recipe.json")})).exit_status, 0);
  const Json applied = Json::parse(text_of(folder_ / "adapter/run.json"))["applied"];
  EXPECT_THAT(applied["kernels"]["lora_linear"].get<std::string>(), testing::StartsWith("pack:"));
  const Json status = Json::parse(run({"evolve", "status", path("s"), "--json"}).standard_output);
  EXPECT_EQ(run({"bench", "--verify", path("s") + "/" + status["winner"]["folder"].get<std::string>()}).exit_status, 0);
}

TEST_F(EvolvePack, AStartingPackIsSearchedAsInitWritesIt) {
  ASSERT_EQ(run({"evolve", "init", path("start"), "--slot", "lora_linear_forward"}).exit_status, 0);
  const ProcessResult result =
      run({"evolve", "run", "--pack", path("start/pack"), "--kernels-only", "--pairs", "1", "--budget-evaluations", "1", "--out", path("s")});
  if (no_sandbox(result)) GTEST_SKIP() << result.standard_error;
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_EQ(show("0")["judgement"]["outcome"], "scored");
  EXPECT_EQ(show("1")["judgement"]["outcome"], "scored") << show("1").dump(2);
}

TEST_F(EvolvePack, ALanguageModelsEditsAreJudged) {
  const std::string command = "exec python3 -B '" EVOLORA_SOURCE_DIR "/tests/end_to_end/fake_chat_endpoint.py' 900";
  FILE* endpoint = popen(command.c_str(), "r");  // NOLINT(cert-env33-c): a fixed command of the test
  int port = 0;
  ASSERT_TRUE(endpoint != nullptr && std::fscanf(endpoint, "%d", &port) == 1);  // NOLINT(cert-err34-c)
  write("llm.yaml", "max_iterations: 3\nllm:\n  api_base: http://127.0.0.1:" + std::to_string(port) + "/edit\n  name: fake\n" +
                        "operators: {diff: 1}\nprompt: {num_top_programs: 0, num_diverse_programs: 0}\n");
  const ProcessResult result = run(search({"--kernels-only", "--model", path("model"), "--llm", path("llm.yaml"), "--seed", "1"}));
  const std::string quit = "python3 -c \"import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:" + std::to_string(port) +
                           "/quit', data=b'{}', method='POST')).read()\"";
  EXPECT_EQ(std::system(quit.c_str()), 0);  // NOLINT(cert-env33-c)
  pclose(endpoint);
  if (no_sandbox(result)) GTEST_SKIP() << result.standard_error;
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_THAT(result.standard_output, HasSubstr("llm diff"));
  const Json first = show("1");
  EXPECT_EQ(first["candidate"]["genome"]["kTile"], 2) << "the genome follows the text";
  EXPECT_EQ(first["judgement"]["outcome"], "scored");
  EXPECT_EQ(first["record"]["model"], "fake");
  const Json exchange = Json::parse(text_of(folder_ / "s/llm/exchanges/000000.json"));
  EXPECT_THAT(exchange.dump(), HasSubstr("evolora_lora_linear_forward_args"));

  // The same search from the record alone, to the end that is in the archive.
  ASSERT_EQ(run({"evolve", "run", "--out", path("s"), "--resume", "--llm", path("llm.yaml"), "--replay", path("s")}).exit_status, 0);
}

TEST_F(EvolvePack, MistakesAreSaidInOneLine) {
  write("fixed/pack.json", kSmallPackManifest);
  std::string text = kSmallPack;
  text.erase(text.find("  // evolve:"), std::string("  // evolve: int 1..4").size());
  write("fixed/kernel.cpp", text);
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {search({}), "--model is missing"},
      {search({"--kernels-only", "--objective", "memory"}), "--objective: expected speed"},
      {search({"--kernels-only", "--iters", "4"}), "iters: nothing is trained with --kernels-only"},
      {search({"--kernels-only", "--threads", "65"}), "--threads: expected 0 to 64"},
      {search({"--kernels-only", "--kernel-genes"}), "--kernel-genes: a search of a kernel pack"},
      {{"evolve", "run", "--pack", path("fixed"), "--kernels-only", "--out", path("s")}, "declares no parameters"},
      {{"evolve", "run", "--pack", path("none"), "--kernels-only", "--out", path("s")}, "pack.json: no such file"},
      {{"evolve", "run", "--kernels-only", "--out", path("s")}, "--kernels-only: expected a kernel pack"},
      {search({"--model", path("model")}), "--data is missing"},
      {search({"--model", path("model"), "--data", path("data"), "--recipe", "r.json"}), "recipe: the search decides it"},
  };
  for (const auto& [arguments, part] : cases) {
    const ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 2) << part;
    EXPECT_THAT(result.standard_error, HasSubstr(part));
    EXPECT_EQ(std::count(result.standard_error.begin(), result.standard_error.end(), '\n'), 1) << result.standard_error;
  }
  EXPECT_FALSE(files_.exists(folder_ / "s"));
}

}  // namespace
}  // namespace evolora
