// A session against a real endpoint on this machine (Python's http.server): the transport's behaviour, and a canary key that must stay in memory.
#include "evolve/llm/llm_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "base/process.h"
#include "base/sha256.h"
#include "base/test_folder.h"

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr char kCanary[] = "sk-canary-e7d1f2a94c58";
constexpr char kProgram[] = "// EVOLVE-BLOCK-START\nconstexpr int kTile = 4;\n// EVOLVE-BLOCK-END\n";

// The endpoint of tests/end_to_end/fake_chat_endpoint.py.
class FakeEndpoint {
 public:
  FakeEndpoint() {
    const std::string command = "exec python3 -B '" EVOLORA_SOURCE_DIR "/tests/end_to_end/fake_chat_endpoint.py' 60";
    pipe_ = popen(command.c_str(), "r");                               // NOLINT(cert-env33-c): a fixed command of the test
    CHECK(pipe_ != nullptr && std::fscanf(pipe_, "%d", &port_) == 1);  // NOLINT(cert-err34-c): CHECKed
  }
  ~FakeEndpoint() {
    (void)curl_transport(nullptr).value()->post({.url = at("quit"), .body = "{}", .timeout_seconds = 10});
    pclose(pipe_);
  }
  FakeEndpoint(const FakeEndpoint&) = delete;
  FakeEndpoint& operator=(const FakeEndpoint&) = delete;
  std::string at(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + "/" + path; }

 private:
  FILE* pipe_ = nullptr;
  int port_ = 0;
};

class LlmSessionTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { endpoint_ = new FakeEndpoint(); }  // NOLINT: one server for all tests of this file
  static void TearDownTestSuite() { delete endpoint_; }

  LlmConfig config_for(const std::string& kind, const std::string& more = "") {
    write_test_file(folder_ / "llm.yaml", "llm:\n  api_base: " + endpoint_->at(kind) +
                                              "\n  api_key_env: EVOLORA_CANARY\n  name: fake\n  timeout: 2\n  retries: 2\n"
                                              "  retry_delay: 0\noperators: {diff: 1}\n" +
                                              more);
    auto config = read_llm_config(real_file_system(), folder_ / "llm.yaml");
    CHECK(config.ok());
    return *config;
  }
  Result<std::unique_ptr<LlmSession>> open(LlmConfig config) {
    setenv("EVOLORA_CANARY", kCanary, 1);
    auto key = take_key(config);
    CHECK(key.ok());
    return LlmSession::open(real_file_system(), std::move(config), std::move(*key), folder_ / "search", nullptr, {});
  }
  static Result<Proposal> propose(LlmSession& session, std::uint64_t stream = 0) {
    Individual start;
    start.candidate.sources["kernel.cpp"] = kProgram;
    start.judgement = {.outcome = Outcome::kScored, .gate = "bench", .log_speed = {0.0, 0.0}};
    start.fitness = 0;
    const PopulationView view = {.history = {&start}, .elites = {&start}, .best = {&start}, .parent = &start};
    Random random(1, stream);
    return session.proposer().propose(view, random);
  }

  static FakeEndpoint* endpoint_;
  TestFolder folder_;
};
FakeEndpoint* LlmSessionTest::endpoint_ = nullptr;

TEST_F(LlmSessionTest, ProposesThroughARealSocketAndReplaysWithoutOne) {
  auto session = open(config_for("busy"));
  ASSERT_TRUE(session.ok()) << session.error().message;
  const auto proposal = propose(**session);
  ASSERT_TRUE(proposal.ok()) << proposal.error().message;
  EXPECT_EQ(proposal->rejected, "");
  EXPECT_THAT(proposal->candidate.sources.at("kernel.cpp"), HasSubstr("kTile = 5;"));
  EXPECT_GT((*session)->spent_tokens().total(), 0);
  auto replay = LlmSession::replay(real_file_system(), config_for("nowhere"), folder_ / "search", {});
  ASSERT_TRUE(replay.ok()) << replay.error().message;
  const auto again = propose(**replay);
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->candidate, proposal->candidate);
  EXPECT_EQ(again->record, proposal->record);
  EXPECT_EQ((*replay)->digest(), (*session)->digest());
}

TEST_F(LlmSessionTest, TheKeyArrivesAndStaysInMemory) {
  auto session = open(config_for("digest"));
  ASSERT_TRUE(session.ok());
  const auto proposal = propose(**session);
  ASSERT_TRUE(proposal.ok()) << proposal.error().message;
  EXPECT_THAT(proposal->rejected, HasSubstr("no_edit"));
  const auto exchange = real_file_system().read(folder_ / "search/llm/exchanges/000000.json");
  ASSERT_TRUE(exchange.ok());
  EXPECT_THAT(*exchange, HasSubstr(sha256_hex(std::string("Bearer ") + kCanary)));
  // No file has it, no child inherits it, and this process does not show it.
  const auto grep = run_process({.argv = {"grep", "-rl", kCanary, folder_.path().string()}, .standard_output = ProcessOutput::kCapture});
  ASSERT_TRUE(grep.ok());
  EXPECT_EQ(grep->standard_output, "");
  EXPECT_EQ(grep->exit_status, 1);
  const auto child = run_process({.argv = {"cat", "/proc/self/environ"}, .standard_output = ProcessOutput::kCapture});
  ASSERT_TRUE(child.ok());
  EXPECT_FALSE(child->standard_output.empty());
  EXPECT_THAT(child->standard_output, Not(HasSubstr(kCanary)));
  const auto files = real_file_system().read("/proc/self/environ");
  if (files.ok()) {
    EXPECT_THAT(*files, Not(HasSubstr(kCanary)));
  }
}

TEST_F(LlmSessionTest, EveryBrokenReplyEndsInAnErrorThatSaysWhy) {
  for (const auto& [kind, words] : std::vector<std::pair<std::string, std::string>>{
           {"cut", "after 3 attempts"}, {"huge", "larger than 4194304 bytes"}, {"slow", "no complete reply within 0.3 s"}}) {
    LlmConfig config = config_for(kind);
    if (kind == "slow") config.endpoint.timeout_seconds = 0.3;
    auto session = open(config);
    ASSERT_TRUE(session.ok());
    const auto proposal = propose(**session);
    ASSERT_FALSE(proposal.ok()) << kind;
    EXPECT_EQ(proposal.error().code, ErrorCode::kDependency);
    EXPECT_THAT(proposal.error().message, HasSubstr(words));
    EXPECT_THAT(proposal.error().message, Not(HasSubstr(kCanary)));
    EXPECT_GT((*session)->spent_tokens().completion, 3 * 4096 - 1) << "sent and not answered: charged in full";
  }
}

TEST_F(LlmSessionTest, ARedirectIsNotFollowed) {
  auto session = open(config_for("redirect"));
  ASSERT_TRUE(session.ok());
  const auto proposal = propose(**session);
  ASSERT_FALSE(proposal.ok());
  EXPECT_THAT(proposal.error().message, HasSubstr("redirects are not followed"));
  const auto count = curl_transport(nullptr).value()->post({.url = endpoint_->at("stolen/count"), .body = "{}", .timeout_seconds = 5});
  EXPECT_EQ(count.body, "{\"stolen\": 0}");
}

TEST_F(LlmSessionTest, NobodyListensAndNothingIsCharged) {
  LlmConfig config = config_for("edit");
  config.endpoint.api_base = "http://127.0.0.1:1/v1";
  auto session = open(config);
  ASSERT_TRUE(session.ok());
  const auto proposal = propose(**session);
  ASSERT_FALSE(proposal.ok());
  EXPECT_THAT(proposal.error().message, HasSubstr("no answer from model 'fake' after 3 attempts"));
  EXPECT_EQ((*session)->spent_tokens().total(), 0);
}

TEST_F(LlmSessionTest, ProxiesOfTheEnvironmentAreNotUsed) {
  setenv("http_proxy", "http://127.0.0.1:1", 1);
  setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
  auto session = open(config_for("edit"));
  ASSERT_TRUE(session.ok());
  EXPECT_TRUE(propose(**session).ok());
  unsetenv("http_proxy");
  unsetenv("ALL_PROXY");
}

}  // namespace
}  // namespace evolora
