// `evolora evolve` as a person meets it: a real search on a tiny model, killed with SIGKILL and taken up again, and what can be seen of it.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <thread>

#include "cli_support.h"

namespace evolora {
namespace {

class CliEvolve : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    for (const char* split : {"train", "valid"}) write("data/" + std::string(split) + ".jsonl", completions(24));
  }
  std::vector<std::string> evolve(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {
        "evolve", "run", "--model", path("model"), "--data",       path("data"), "--iters",         "3", "--pairs",      "1", "--start",   "plain",
        "--seed", "4",   "--out",   path("s"),     "--num-layers", "-1",         "--confirm-pairs", "5", "--batch-size", "2", "--islands", "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  Json status() { return Json::parse(run({"evolve", "status", path("s"), "--json"}).standard_output); }
  // Starts a search, kills it with all mercy denied once `proposals` are in its archive.
  void kill_after(const std::vector<std::string>& arguments, std::int64_t proposals) {
    std::vector<std::string> words = {EVOLORA_BINARY};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const int null = ::open("/dev/null", O_WRONLY);
      ::dup2(null, STDOUT_FILENO);
      ::execv(argv[0], argv.data());
      ::_exit(127);
    }
    for (int i = 0; i < 3000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      if (!files_.exists(folder_ / "s" / "search.sqlite")) continue;
      const ProcessResult look = run({"evolve", "status", path("s"), "--json"});
      if (look.exit_status == 0 && Json::parse(look.standard_output)["runs"][0]["proposals"].get<std::int64_t>() >= proposals) break;
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int ignored = 0;
    ASSERT_EQ(::waitpid(child, &ignored, 0), child);
  }
};

TEST_F(CliEvolve, KilledAndTakenUpAgain) {
  kill_after(evolve({"--budget-evaluations", "6", "--keep-arithmetic"}), 2);
  const Json before = Json::parse(run({"evolve", "show", path("s"), "1", "--json"}).standard_output);
  const std::int64_t kept = status()["runs"][0]["proposals"].get<std::int64_t>();
  ASSERT_GE(kept, 2);
  EXPECT_NE(before.dump().find("forward_arithmetic\":\"fp32"), std::string::npos) << before.dump();
  const ProcessResult occupied = run(evolve({}));
  EXPECT_EQ(occupied.exit_status, 2);
  EXPECT_NE(occupied.standard_error.find("--resume"), std::string::npos);
  const ProcessResult result = run({"evolve", "run", "--out", path("s"), "--resume"});
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_NE(result.standard_output.find("6 evaluations are spent"), std::string::npos) << result.standard_output;
  const Json after = status();
  EXPECT_EQ(after["runs"][0]["evaluations"], 6);
  EXPECT_GE(after["runs"][0]["proposals"].get<std::int64_t>(), kept);
  EXPECT_EQ(Json::parse(run({"evolve", "show", path("s"), "1", "--json"}).standard_output), before);
  const ProcessResult best = run({"evolve", "best", path("s"), "--json"});
  EXPECT_EQ(best.exit_status, 0);
  const bool won = !Json::parse(best.standard_output).is_null();
  const ProcessResult exported = run({"evolve", "best", path("s"), "--export", path("out")});
  EXPECT_EQ(exported.exit_status, won ? 0 : 2) << exported.standard_error;
  if (won) {
    EXPECT_EQ(run(train({"--recipe", path("out/recipe.json")})).exit_status, 0);
  }
}

TEST_F(CliEvolve, MistakesAreSaidInOneLine) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"evolve"}, "one of: init, run, status, best, show"},
      {{"evolve", "status", path("none")}, "no such archive"},
      {{"evolve", "run", "--out", path("none"), "--resume"}, "no search here"},
      {evolve({"--proposer", "evolutoin"}), "did you mean 'evolution'"},
      {evolve({"--compare", "tpe,tpe"}), "named twice"},
      {evolve({"--threads", "2"}), "threads: the search decides it"},
      {evolve({"--objective", "joy"}), "speed, memory or both"},
      {evolve({"--confirm-pairs", "2"}), "--confirm-pairs: expected"},
      {evolve({"--max-confirm-pairs", "4"}), "--max-confirm-pairs (from --confirm-pairs on): expected a whole number from 5"},
      {evolve({"--batch-size", "20"}), "a batch needs"},
      {evolve({"--islnds", "2"}), "did you mean"},
  };
  for (const auto& [arguments, part] : cases) {
    const ProcessResult result = run(arguments);
    EXPECT_EQ(result.exit_status, 2) << part;
    EXPECT_NE(result.standard_error.find(part), std::string::npos) << result.standard_error;
  }
}

}  // namespace
}  // namespace evolora
