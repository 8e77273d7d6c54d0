// The request as the endpoint wants it.
#include "evolve/llm/chat.h"

#include "base/check.h"

namespace evolora {

nlohmann::ordered_json chat_request_to_json(const ChatRequest& request) {
  using Json = nlohmann::ordered_json;
  Json body = {{"model", request.model}, {"messages", Json::array()}};
  for (const ChatMessage& message : request.messages) body["messages"].push_back({{"role", message.role}, {"content", message.content}});
  if (request.temperature) body["temperature"] = *request.temperature;
  if (request.top_p) body["top_p"] = *request.top_p;
  body["max_tokens"] = request.max_tokens;
  if (request.seed) body["seed"] = *request.seed;
  if (!request.reasoning_effort.empty()) body["reasoning_effort"] = request.reasoning_effort;
  body["n"] = 1;
  body["stream"] = false;
  return body;
}

std::int64_t most_prompt_tokens(const ChatRequest& request) {
  // Role markers of chat templates are under ten tokens a message; a default system text that a template adds on its own is some dozens.
  constexpr std::int64_t kPerMessage = 16, kPerRequest = 64;
  std::int64_t tokens = kPerRequest;
  for (const ChatMessage& message : request.messages) {
    tokens += kPerMessage + checked_cast<std::int64_t>(message.content.size() + message.role.size());
  }
  return tokens;
}

}  // namespace evolora
