// One question to a language model and its answer, whoever answers: an endpoint, a record of an earlier run, or a person.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "evolve/llm/budget.h"

namespace evolora {

struct ChatMessage {
  std::string role;  // "system", "user"
  std::string content;
};

struct ChatRequest {
  std::string model;
  std::vector<ChatMessage> messages;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::int64_t max_tokens = 4096;
  std::optional<std::int64_t> seed;
  std::string reasoning_effort;  // empty: not sent
};
// The body of POST /chat/completions. Equal requests have equal text.
nlohmann::ordered_json chat_request_to_json(const ChatRequest& request);

// An upper bound of the tokens of the messages. A byte-level tokenizer makes at most one token of a byte; templates add a few per message.
std::int64_t most_prompt_tokens(const ChatRequest& request);

struct ChatReply {
  std::string text;     // what the model said; may be empty
  std::string refusal;  // the endpoint's words if the model would not answer
  std::string finish_reason;
  TokenCount used;       // as the endpoint counted, or the reservation's when it did not
  Picodollars cost = 0;  // of the attempt that answered
};

class ChatModel {
 public:
  virtual ~ChatModel() = default;
  // number: of the exchange, from 0; every exchange of a search has its own. Errors end the search, kUnsupported as done: kDependency (no usable
  // answer after all retries), kUnsupported (budget), kInterrupted, kBadData (a record that has no such exchange or another request), kIo.
  virtual Result<ChatReply> chat(std::int64_t number, const ChatRequest& request) = 0;
};

}  // namespace evolora
