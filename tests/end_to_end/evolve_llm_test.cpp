// `evolora evolve run --llm` against an endpoint on this machine: candidates come from it, its key is in no file, no output and no child, and a
// search that goes on must ask as before.
#include <gmock/gmock.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <regex>
#include <sstream>
#include <thread>

#include "base/check.h"
#include "cli_support.h"

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kCanary[] = "sk-canary-5b81d0c7";

std::string bytes_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Looks at the environment of every training that runs meanwhile.
class ChildWatch {
 public:
  ChildWatch() : thread_([this] { watch(); }) {}
  ~ChildWatch() {
    done_ = true;
    thread_.join();
  }
  int seen() const { return seen_; }
  int leaks() const { return leaks_; }

 private:
  void watch() {
    while (!done_) {
      std::error_code ignored;  // processes end while they are looked at
      for (fs::directory_iterator at("/proc", ignored), end; at != end; at.increment(ignored)) {
        const std::string command = bytes_of(at->path() / "cmdline");
        if (!command.starts_with(EVOLORA_BINARY) || command.find(std::string("\0train\0", 7)) == std::string::npos) continue;
        const std::string environment = bytes_of(at->path() / "environ");
        if (environment.empty()) continue;
        ++seen_;
        if (environment.find(kCanary) != std::string::npos) ++leaks_;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  std::atomic<bool> done_{false};
  std::atomic<int> seen_{0}, leaks_{0};
  std::thread thread_;
};

class EvolveLlm : public CliTest {
 protected:
  void SetUp() override {
    CliTest::SetUp();
    const std::string command = "exec python3 -B '" EVOLORA_SOURCE_DIR "/tests/end_to_end/fake_chat_endpoint.py' 120";
    endpoint_ = popen(command.c_str(), "r");                                         // NOLINT(cert-env33-c): a fixed command of the test
    ASSERT_TRUE(endpoint_ != nullptr && std::fscanf(endpoint_, "%d", &port_) == 1);  // NOLINT(cert-err34-c)
    setenv("EVOLORA_CANARY", kCanary, 1);
    write("llm.yaml", config(""));
  }
  void TearDown() override {
    unsetenv("EVOLORA_CANARY");
    const std::string quit = "python3 -c \"import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:" + std::to_string(port_) +
                             "/quit', data=b'{}', method='POST')).read()\"";
    EXPECT_EQ(std::system(quit.c_str()), 0);  // NOLINT(cert-env33-c)
    pclose(endpoint_);
    CliTest::TearDown();
  }
  std::string config(const std::string& more) const {
    return "max_iterations: 3\nllm:\n  api_base: http://127.0.0.1:" + std::to_string(port_) +
           "/settings\n  api_key_env: EVOLORA_CANARY\n  name: fake\n" + more;
  }
  std::vector<std::string> search(const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {
        "evolve", "run",          "--model", path("model"), "--data", path("data"),  "--llm", path("llm.yaml"),  "--iters", "2", "--num-layers",
        "-1",     "--batch-size", "2",       "--pairs",     "1",      "--finalists", "1",     "--confirm-pairs", "6"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }

  FILE* endpoint_ = nullptr;
  int port_ = 0;
};

TEST_F(EvolveLlm, ProposesAndTheKeyStaysInMemory) {
  ProcessResult result;
  {
    const ChildWatch watch;
    result = run(search({"--out", path("found")}));
    EXPECT_GT(watch.seen(), 0);
    EXPECT_EQ(watch.leaks(), 0);
  }
  ASSERT_EQ(result.exit_status, 0) << result.standard_error;
  EXPECT_THAT(result.standard_output, HasSubstr("llm genome"));
  EXPECT_TRUE(fs::exists(folder_ / "found/llm/exchanges/000000.json"));
  EXPECT_THAT(result.standard_output + result.standard_error, Not(HasSubstr(kCanary)));
  int files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (!entry.is_regular_file()) continue;
    ++files;
    EXPECT_THAT(bytes_of(entry.path()), Not(HasSubstr(kCanary))) << entry.path();
  }
  EXPECT_GT(files, 5);

  // A finished search is shown again without a question; with other settings it is refused.
  const ProcessResult again = run(search({"--out", path("found"), "--resume"}));
  EXPECT_EQ(again.exit_status, 0) << again.standard_error;
  EXPECT_FALSE(fs::exists(folder_ / "found/llm/exchanges/000003.json"));
  write("llm.yaml", config("prompt: {num_top_programs: 1}\n"));
  const ProcessResult other = run(search({"--out", path("found"), "--resume"}));
  EXPECT_EQ(other.exit_status, 2);
  EXPECT_THAT(other.standard_error, HasSubstr("begun with other models, prompts or operators"));
  // Times of another run are other numbers in the prompts.
  write("llm.yaml", config(""));
  const ProcessResult replay = run(search({"--out", path("replayed"), "--replay", path("found")}));
  EXPECT_EQ(replay.exit_status, 2);
  EXPECT_THAT(replay.standard_error, HasSubstr("asks something else than was recorded"));

  // With the archived times the same is asked and proposed: no endpoint is needed, no key, and nothing is written.
  unsetenv("EVOLORA_CANARY");
  write("closed.yaml", std::regex_replace(config(""), std::regex(":[0-9]+/settings"), ":9/settings"));
  const std::string before = bytes_of(folder_ / "found/search.sqlite");
  fs::rename(folder_ / "found/llm/settings.sha256", folder_ / "settings");
  const ProcessResult verified = run({"evolve", "verify", path("found"), "--llm", path("closed.yaml")});
  EXPECT_EQ(verified.exit_status, 0) << verified.standard_error;
  EXPECT_EQ(bytes_of(folder_ / "found/search.sqlite"), before);
  EXPECT_FALSE(fs::exists(folder_ / "found/llm/settings.sha256"));
  fs::rename(folder_ / "settings", folder_ / "found/llm/settings.sha256");
  EXPECT_THAT(verified.standard_output, testing::ContainsRegex("^[23] proposals made again from [345] archived"));
  EXPECT_THAT(verified.standard_output, HasSubstr("and the recorded answers of language models: all the same, to the byte\n"));
  write("llm.yaml", config("prompt: {num_top_programs: 1}\n"));
  EXPECT_THAT(run({"evolve", "verify", path("found"), "--llm", path("llm.yaml")}).standard_error, HasSubstr("give it as it was"));
  const ProcessResult without = run({"evolve", "verify", path("found")});
  EXPECT_EQ(without.exit_status, 2);
  EXPECT_THAT(without.standard_error, HasSubstr("proposer llm: expected a configuration of language models with --llm"));
}

TEST_F(EvolveLlm, MistakesAreOneLine) {
  EXPECT_THAT(run(search({"--out", path("x"), "--proposer", "tpe"})).standard_error, HasSubstr("--llm: none of the search's proposers is llm"));
  unsetenv("EVOLORA_CANARY");
  const ProcessResult no_key = run(search({"--out", path("x")}));
  EXPECT_EQ(no_key.exit_status, 2);
  EXPECT_THAT(no_key.standard_error, HasSubstr("EVOLORA_CANARY is not set"));
  write("llm.yaml", config("checkpoint_interval: 5\n"));
  EXPECT_THAT(run(search({"--out", path("x")})).standard_error, HasSubstr("checkpoint_interval: this key would do nothing here"));
  EXPECT_FALSE(fs::exists(folder_ / "x"));
}

}  // namespace
}  // namespace evolora
