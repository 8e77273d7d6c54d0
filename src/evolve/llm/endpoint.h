// A language model behind an OpenAI-compatible endpoint: POST {api_base}/chat/completions, with bounded retries and a budget.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "evolve/llm/chat.h"
#include "evolve/llm/transport.h"

namespace evolora {

struct EndpointSettings {
  std::string api_base;  // as check_api_base returns it
  std::string proxy;
  double timeout_seconds = 60;
  int retries = 3;                           // after the first attempt
  double retry_delay_seconds = 5;            // before the first retry; doubles with each, times a random factor in [0.5, 1)
  std::uint64_t seed = 0;                    // of those factors
  std::map<std::string, TokenPrice> prices;  // by model name; a model without one costs nothing
};

// No wait is longer, whatever the endpoint asks for in Retry-After.
inline constexpr double kLongestWaitSeconds = 120;

// Retried: no connection, time-outs, replies cut or too large, status 408, 425, 429 and 5xx, and replies that are not a chat completion. Not retried:
// redirects (never followed, because the key would go along) and other 4xx. An attempt that may have cost something and did not say what is charged
// in full; a refusal by status code costs nothing. References outlive the object.
class Endpoint : public ChatModel {
 public:
  Endpoint(EndpointSettings settings, const Secret& key, Transport& transport, Waiter& waiter, Budget& budget)
      : settings_(std::move(settings)), key_(key), transport_(transport), waiter_(waiter), budget_(budget) {}

  Result<ChatReply> chat(std::int64_t number, const ChatRequest& request) override;

 private:
  struct Attempt;
  Result<Attempt> attempt(const HttpRequest& http, const ChatRequest& request);
  Result<Attempt> judge_answer(const HttpOutcome& outcome, const Budget::Reservation& reservation);

  EndpointSettings settings_;
  const Secret& key_;
  Transport& transport_;
  Waiter& waiter_;
  Budget& budget_;
};

// The reply in the body of a chat completion, or what is wrong with it: kBadData. `reported` says whether used is the endpoint's count.
struct ParsedReply {
  ChatReply reply;
  bool reported = false;
};
Result<ParsedReply> parse_chat_completion(const std::string& body);

}  // namespace evolora
