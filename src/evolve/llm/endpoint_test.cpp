// The endpoint with injected replies: what is retried and how long is waited, what is charged, that a budget holds to the token, strict parsing.
#include "evolve/llm/endpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "evolve/llm/chat_doubles.h"

namespace evolora {
namespace {

using testing::HasSubstr;

class EndpointTest : public testing::Test {
 protected:
  Result<ChatReply> ask(std::int64_t number = 0) {
    auto budget = Budget::open(real_file_system(), folder_ / "ledger.jsonl", limits_);
    EXPECT_TRUE(budget.ok()) << budget.error().message;
    Endpoint endpoint(settings_, key_, transport_, waiter_, *budget);
    Result<ChatReply> reply = endpoint.chat(number, request_);
    spent_ = budget->spent_tokens();
    money_ = budget->spent_money();
    return reply;
  }
  std::int64_t most() const { return most_prompt_tokens(request_) + request_.max_tokens; }

  TestFolder folder_;
  std::string key_text_ = "sk-canary";
  Secret key_{key_text_};
  EndpointSettings settings_ = {.api_base = "https://models.example/v1", .timeout_seconds = 7, .retries = 3, .retry_delay_seconds = 2, .seed = 5};
  ChatRequest request_ = {.model = "m", .messages = {{"user", "hello"}}, .max_tokens = 100, .seed = 3};
  BudgetLimits limits_;
  ScriptedTransport transport_;
  NotingWaiter waiter_;
  TokenCount spent_;
  Picodollars money_ = 0;
};

TEST_F(EndpointTest, AnswersAndCountsWhatTheEndpointCounted) {
  settings_.prices["m"] = {.prompt = 3'000'000, .completion = 15'000'000};
  transport_.outcomes = {completion("hi", 12, 4)};
  const auto reply = ask();
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, "hi");
  EXPECT_EQ(reply->used, (TokenCount{12, 4}));
  EXPECT_EQ(reply->cost, 12 * 3'000'000 + 4 * 15'000'000);
  EXPECT_EQ(money_, reply->cost);
  EXPECT_EQ(spent_, (TokenCount{12, 4}));
  EXPECT_EQ(transport_.keys[0], "sk-canary");
  EXPECT_EQ(transport_.requests[0], R"({"model":"m","messages":[{"role":"user","content":"hello"}],"max_tokens":100,"seed":3,"n":1,"stream":false})");
}

TEST_F(EndpointTest, WaitsLongerEachTimeAndNotLongerThanTheCap) {
  transport_.outcomes = {answered(429, "{}"), answered(503, "busy"), answered(500, ""), completion("at last")};
  ASSERT_TRUE(ask().ok());
  ASSERT_EQ(waiter_.waits.size(), 3U);
  for (std::size_t i = 0; i < 3; ++i) {
    const double full = 2.0 * static_cast<double>(1U << i);
    EXPECT_GE(waiter_.waits[i], full / 2);
    EXPECT_LT(waiter_.waits[i], full);
  }
  EXPECT_EQ(spent_, (TokenCount{10, 5})) << "refusals by status cost nothing";
}

TEST_F(EndpointTest, WaitsAreTheSameForTheSameExchangeAndDifferForOthers) {
  transport_.outcomes = {answered(500, "")};
  ASSERT_FALSE(ask(1).ok());
  ASSERT_FALSE(ask(1).ok());
  ASSERT_FALSE(ask(2).ok());
  ASSERT_EQ(waiter_.waits.size(), 9U);
  EXPECT_EQ(waiter_.waits[0], waiter_.waits[3]);
  EXPECT_NE(waiter_.waits[0], waiter_.waits[6]);
}

TEST_F(EndpointTest, HonoursRetryAfterUpToTheCap) {
  HttpOutcome soon = answered(429, "{}"), late = answered(429, "{}");
  soon.retry_after_seconds = 30;
  late.retry_after_seconds = 86400;
  transport_.outcomes = {soon, late, completion("ok")};
  ASSERT_TRUE(ask().ok());
  EXPECT_EQ(waiter_.waits, (std::vector<double>{30, kLongestWaitSeconds}));
}

TEST_F(EndpointTest, EveryUselessReplyIsTriedABoundedNumberOfTimes) {
  const std::string good = completion("x").body;
  const std::vector<std::pair<HttpOutcome, std::string>> cases = {
      {answered(200, "<html>"), "not valid JSON"},
      {answered(200, good.substr(0, good.size() / 2)), "not valid JSON"},
      {answered(200, "[1,2,3]"), "no 'choices'"},
      {answered(200, R"({"choices":[]})"), "no 'choices'"},
      {answered(200, R"({"choices":[{"message":"text"}]})"), "message"},
      {answered(200, R"({"choices":[{"message":{"content":7}}]})"), "expected 'content' to be a text"},
      {answered(200, R"({"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":-1,"completion_tokens":0}})"), "usage.prompt_tokens"},
      {answered(200, R"({"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":1e30,"completion_tokens":0}})"), "usage.prompt_tokens"},
      {answered(200, std::string(1000, '[')), "nested deeper"},
      {{.delivery = Delivery::kLost, .failure = "the reply is larger than 4194304 bytes"}, "larger than"},
      {{.delivery = Delivery::kLost, .failure = "no complete reply within 7 s"}, "within 7 s"},
  };
  for (const auto& [outcome, words] : cases) {
    SCOPED_TRACE(words);
    const TestFolder fresh;
    transport_ = {};
    transport_.outcomes = {outcome};
    const std::int64_t before = spent_.total();
    const auto reply = ask();
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(reply.error().code, ErrorCode::kDependency);
    EXPECT_THAT(reply.error().message, HasSubstr(words));
    EXPECT_THAT(reply.error().message, HasSubstr("after 4 attempts"));
    EXPECT_EQ(transport_.requests.size(), 4U);
    EXPECT_EQ(spent_.total() - before, 4 * most()) << "what may have cost something is charged in full";
  }
}

TEST_F(EndpointTest, DoesNotRetryWhatCannotGetBetter) {
  for (const int status : {301, 302, 307, 400, 401, 403, 404}) {
    transport_ = {};
    transport_.outcomes = {answered(status, R"({"error":{"message":"no \u001b[31msuch\nmodel"}})")};
    const auto reply = ask();
    ASSERT_FALSE(reply.ok());
    EXPECT_EQ(transport_.requests.size(), 1U) << status;
    EXPECT_THAT(reply.error().message, HasSubstr(status < 400 ? "redirects are not followed" : "no such model"));
    EXPECT_EQ(reply.error().message.find_first_of("\n\x1b"), std::string::npos);
  }
  EXPECT_TRUE(waiter_.waits.empty());
}

TEST_F(EndpointTest, WithoutAConnectionNothingIsCharged) {
  transport_.outcomes = {{.delivery = Delivery::kNotSent, .failure = "Couldn't connect to server"}};
  ASSERT_FALSE(ask().ok());
  EXPECT_EQ(spent_.total(), 0);
  EXPECT_EQ(transport_.requests.size(), 4U);
}

TEST_F(EndpointTest, ARefusalIsAnAnswer) {
  transport_.outcomes = {answered(200, R"({"choices":[{"message":{"content":null,"refusal":"I will not"}}],"usage":null})")};
  const auto reply = ask();
  ASSERT_TRUE(reply.ok()) << reply.error().message;
  EXPECT_EQ(reply->text, "");
  EXPECT_EQ(reply->refusal, "I will not");
  EXPECT_EQ(reply->used.total(), most()) << "an endpoint that does not count is charged in full";
}

TEST_F(EndpointTest, StopsBeforeARequestThatCouldExceedTheTokensToTheToken) {
  transport_.outcomes = {completion("x", 10, 5)};
  limits_.tokens = most();
  ASSERT_TRUE(ask().ok());
  EXPECT_EQ(spent_.total(), 15);
  const auto refused = ask();  // 15 + most() > most()
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused.error().message, HasSubstr("token budget reached"));
  limits_.tokens = most() + 14;
  EXPECT_FALSE(ask().ok());
  EXPECT_EQ(transport_.requests.size(), 1U);
  limits_.tokens = most() + 15;
  EXPECT_TRUE(ask().ok());
}

TEST_F(EndpointTest, StopsBeforeARequestThatCouldExceedTheMoney) {
  settings_.prices["m"] = {.prompt = 1'000'000, .completion = 2'000'000};
  const Picodollars most_cost = most_prompt_tokens(request_) * 1'000'000 + 100 * 2'000'000;
  transport_.outcomes = {completion("x", 10, 5)};
  limits_.money = most_cost - 1;
  EXPECT_THAT(ask().error().message, HasSubstr("money budget reached"));
  EXPECT_TRUE(transport_.requests.empty());
  limits_.money = most_cost;
  EXPECT_TRUE(ask().ok());
}

TEST_F(EndpointTest, RetriesThatMayCostNeverExceedTheBudget) {
  transport_.outcomes = {answered(200, "garbage")};
  limits_.tokens = 2 * most() + most() / 2;
  const auto reply = ask();
  ASSERT_FALSE(reply.ok());
  EXPECT_EQ(reply.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(transport_.requests.size(), 2U);
  EXPECT_LE(spent_.total(), *limits_.tokens);
}

TEST_F(EndpointTest, AnEndpointThatTakesMoreThanAskedEndsTheSearch) {
  transport_.outcomes = {completion("x", 10, 1'000'000)};
  const auto reply = ask();
  ASSERT_FALSE(reply.ok());
  EXPECT_THAT(reply.error().message, HasSubstr("does not keep to max_tokens"));
  EXPECT_EQ(spent_, (TokenCount{10, 1'000'000}));
}

TEST(Budget, AReservationThatACrashLeftOpenCountsInFull) {
  const TestFolder folder;
  const fs::path path = folder / "ledger.jsonl";
  {
    auto budget = Budget::open(real_file_system(), path, {});
    ASSERT_TRUE(budget.ok());
    const auto first = budget->reserve({100, 50}, {});
    ASSERT_TRUE(first.ok());
    ASSERT_TRUE(budget->settle(*first, {7, 3}).ok());
    ASSERT_TRUE(budget->reserve({1000, 500}, {}).ok());
  }
  auto text = real_file_system().read(path);
  write_test_file(path, *text + R"({"settle":1,"prom)");  // cut off
  auto budget = Budget::open(real_file_system(), path, {.tokens = 1600});
  ASSERT_TRUE(budget.ok()) << budget.error().message;
  EXPECT_EQ(budget->spent_tokens().total(), 1510);
  EXPECT_FALSE(budget->reserve({90, 1}, {}).ok());
  EXPECT_TRUE(budget->reserve({90, 0}, {}).ok());
  auto again = Budget::open(real_file_system(), path, {});
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->spent_tokens().total(), 1600);
}

TEST(Budget, ALedgerThatIsNotOneIsRefusedByLine) {
  const TestFolder folder;
  for (const char* text : {"hello\n", "{\"settle\":0,\"prompt\":1,\"completion\":1,\"cost_picodollars\":0}\n",
                           "{\"reserve\":5,\"prompt\":1,\"completion\":1,\"cost_picodollars\":0}\n", "{\"reserve\":0,\"prompt\":-1}\n"}) {
    write_test_file(folder / "ledger.jsonl", text);
    const auto budget = Budget::open(real_file_system(), folder / "ledger.jsonl", {});
    ASSERT_FALSE(budget.ok()) << text;
    EXPECT_THAT(budget.error().message, HasSubstr("ledger.jsonl:1: "));
  }
}

TEST(ApiBase, OnlyPlainAddressesAndNoKeyInTheClear) {
  EXPECT_EQ(*check_api_base("https://api.example.com/v1/", true), "https://api.example.com/v1");
  EXPECT_TRUE(check_api_base("http://127.0.0.1:8000/v1", true).ok());
  EXPECT_TRUE(check_api_base("http://localhost:8000", true).ok());
  EXPECT_TRUE(check_api_base("http://models.lan/v1", false).ok());
  for (const char* bad :
       {"", "ftp://x/v1", "file:///etc/passwd", "https://user:pass@x/v1", "https://x/v1?a=b", "https://x/v1#f", "http://models.lan/v1",
        "http://localhost.evil.example/v1", "http://127.0.0.1.evil.example", "https://x /v1", "https://x\n/v1", "api.example.com"}) {
    EXPECT_FALSE(check_api_base(bad, true).ok()) << bad;
  }
}

}  // namespace
}  // namespace evolora
