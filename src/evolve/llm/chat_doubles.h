// For tests: a transport that answers from a list, a waiter that only writes down, a chat model that answers from a list.
#pragma once

#include <deque>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/check.h"
#include "evolve/llm/chat.h"
#include "evolve/llm/transport.h"

namespace evolora {

class ScriptedTransport : public Transport {
 public:
  HttpOutcome post(const HttpRequest& request) override {
    requests.push_back(request.body);
    keys.emplace_back(request.key == nullptr ? "" : request.key->reveal());
    if (outcomes.size() > 1) {
      HttpOutcome next = outcomes.front();
      outcomes.pop_front();
      return next;
    }
    CHECK(!outcomes.empty());
    return outcomes.front();  // the last one stays
  }

  std::deque<HttpOutcome> outcomes;
  std::vector<std::string> requests, keys;
};

class NotingWaiter : public Waiter {
 public:
  Status wait(double seconds) override {
    waits.push_back(seconds);
    if (during_wait) during_wait();
    if (waits.size() >= most_waits) return Error{ErrorCode::kInterrupted, "stopped"};
    return {};
  }

  std::vector<double> waits;
  std::function<void()> during_wait;
  std::size_t most_waits = 1000;
};

// Answers with what `answer` makes of number and request.
class ScriptedChat : public ChatModel {
 public:
  Result<ChatReply> chat(std::int64_t number, const ChatRequest& request) override {
    numbers.push_back(number);
    requests.push_back(request);
    return answer(number, request);
  }

  std::function<Result<ChatReply>(std::int64_t, const ChatRequest&)> answer;
  std::vector<std::int64_t> numbers;
  std::vector<ChatRequest> requests;
};

inline HttpOutcome answered(int status, const std::string& body) { return {.delivery = Delivery::kAnswered, .status = status, .body = body}; }

inline HttpOutcome completion(const std::string& text, std::int64_t prompt_tokens = 10, std::int64_t completion_tokens = 5) {
  const nlohmann::ordered_json body = {
      {"choices", {{{"index", 0}, {"message", {{"role", "assistant"}, {"content", text}}}, {"finish_reason", "stop"}}}},
      {"usage", {{"prompt_tokens", prompt_tokens}, {"completion_tokens", completion_tokens}}}};
  return answered(200, body.dump());
}

}  // namespace evolora
