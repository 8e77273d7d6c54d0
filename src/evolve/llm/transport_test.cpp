// libcurl against a server on this machine: what goes over the wire, and every way in which a reply can be no reply.
#include "evolve/llm/transport.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "evolve/llm/http_double.h"

namespace evolora {
namespace {

using testing::HasSubstr;
using testing::Not;

HttpOutcome post_to(const std::string& base, const Secret* key = nullptr, double timeout_seconds = 20) {
  return curl_transport(nullptr).value()->post(
      {.url = base + "/v1/chat/completions", .body = R"({"a":1})", .key = key, .timeout_seconds = timeout_seconds});
}

TEST(CurlTransport, SendsBodyAndKeyToTheGivenAddressOnly) {
  HttpDouble server([](const std::string&) { return http_answer("200 OK", "", "{\"ok\":true}"); });
  std::string text = "sk-canary";
  const Secret key(text);
  const HttpOutcome outcome = post_to(server.base(), &key);
  EXPECT_EQ(outcome.delivery, Delivery::kAnswered) << outcome.failure;
  EXPECT_EQ(outcome.status, 200);
  EXPECT_EQ(outcome.body, "{\"ok\":true}");
  ASSERT_EQ(server.requests().size(), 1U);
  const std::string request = server.requests()[0];
  EXPECT_THAT(request, HasSubstr("POST /v1/chat/completions HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Authorization: Bearer sk-canary\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_TRUE(request.ends_with("\r\n\r\n{\"a\":1}"));
}

TEST(CurlTransport, WithoutAKeyThereIsNoAuthorization) {
  HttpDouble server([](const std::string&) { return http_answer("200 OK", "", "{}"); });
  EXPECT_EQ(post_to(server.base()).delivery, Delivery::kAnswered);
  EXPECT_THAT(server.requests()[0], Not(HasSubstr("Authorization")));
}

TEST(CurlTransport, ARedirectIsAnAnswerAndNotFollowed) {
  HttpDouble other([](const std::string&) { return http_answer("200 OK", "", "stolen"); });
  HttpDouble server([&](const std::string&) { return http_answer("307 Temporary Redirect", "Location: " + other.base() + "/\r\n", ""); });
  std::string text = "sk-canary";
  const Secret key(text);
  EXPECT_EQ(post_to(server.base(), &key).status, 307);
  EXPECT_TRUE(other.requests().empty());
}

TEST(CurlTransport, TheEnvironmentsProxiesAreNotAsked) {
  HttpDouble proxy([](const std::string&) { return http_answer("200 OK", "", "from the proxy"); });
  HttpDouble server([](const std::string&) { return http_answer("200 OK", "", "direct"); });
  for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) setenv(name, proxy.base().c_str(), 1);
  const HttpOutcome outcome = post_to(server.base());
  for (const char* name : {"http_proxy", "all_proxy", "ALL_PROXY"}) unsetenv(name);
  EXPECT_EQ(outcome.body, "direct") << outcome.failure;
  EXPECT_TRUE(proxy.requests().empty());
}

TEST(CurlTransport, ReadsRetryAfter) {
  HttpDouble server([](const std::string&) { return http_answer("429 Too Many Requests", "Retry-After: 17\r\n", "{}"); });
  const HttpOutcome outcome = post_to(server.base());
  EXPECT_EQ(outcome.status, 429);
  EXPECT_EQ(outcome.retry_after_seconds, 17.0);
}

TEST(CurlTransport, AReplyOfTenMegabytesIsCutAndLost) {
  HttpDouble server([](const std::string&) { return http_answer("200 OK", "", std::string(std::size_t{10} << 20, 'x')); });
  const HttpOutcome outcome = post_to(server.base());
  EXPECT_EQ(outcome.delivery, Delivery::kLost);
  EXPECT_THAT(outcome.failure, HasSubstr("larger than 4194304 bytes"));
  EXPECT_LE(outcome.body.size(), kMaxReplyBytes);
}

TEST(CurlTransport, AReplyCutInTheMiddleIsLost) {
  HttpDouble server([](const std::string&) { return "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"choices\":[{\"mess"; });
  EXPECT_EQ(post_to(server.base()).delivery, Delivery::kLost);
}

TEST(CurlTransport, ASilentServerIsLostAfterTheTimeLimit) {
  HttpDouble server([](const std::string&) { return std::string(); });
  const HttpOutcome outcome = post_to(server.base(), nullptr, 0.2);
  EXPECT_EQ(outcome.delivery, Delivery::kLost);
  EXPECT_THAT(outcome.failure, HasSubstr("no complete reply within 0.2 s"));
}

TEST(CurlTransport, NobodyThereIsNotSent) {
  std::string base;
  {
    HttpDouble server([](const std::string&) { return std::string(); });
    base = server.base();
  }
  EXPECT_EQ(post_to(base).delivery, Delivery::kNotSent);
}

TEST(CurlTransport, AServerWithoutAValidCertificateGetsNothing) {
  HttpDouble server([](const std::string&) { return http_answer("200 OK", "", "{}"); });
  std::string text = "sk-canary";
  const Secret key(text);
  std::string base = server.base();
  base.replace(0, 4, "https");
  EXPECT_NE(post_to(base, &key, 0.3).delivery, Delivery::kAnswered);
  for (const std::string& request : server.requests()) EXPECT_THAT(request, Not(HasSubstr("sk-canary")));
}

TEST(CurlTransport, AStopEndsARunningRequest) {
  std::atomic<bool> stop{false};
  HttpDouble server([&](const std::string&) {
    stop = true;
    return std::string();
  });
  const HttpOutcome outcome = curl_transport(&stop).value()->post({.url = server.base() + "/", .body = "{}", .timeout_seconds = 600});
  EXPECT_EQ(outcome.delivery, Delivery::kStopped);
}

}  // namespace
}  // namespace evolora
