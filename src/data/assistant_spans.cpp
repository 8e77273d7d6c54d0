// Turn boundaries by comparison of renderings.
#include "data/assistant_spans.h"

#include <fmt/format.h>

#include <algorithm>

namespace evolora {

namespace {

using Json = nlohmann::ordered_json;
using Tokens = std::vector<std::int32_t>;

std::size_t common_prefix(const Tokens& a, const Tokens& b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

Json first_messages(const Json& messages, std::size_t count) {
  Json out = Json::array();
  for (std::size_t i = 0; i < count; ++i) out.push_back(messages[i]);
  return out;
}

bool is_assistant(const Json& message) { return message.contains("role") && message["role"] == "assistant"; }

// A conversation that starts with the assistant has no prefix to render: the header is what stays when the words change.
Result<std::size_t> begin_of_first(const Tokenizer& tokenizer, const Json& messages, const ChatOptions& options, const Tokens& tokens) {
  std::size_t begin = tokens.size();
  for (const char* other : {"A", "1"}) {  // two, as the words may start with one of them
    Json changed = messages;
    changed[0]["content"] = other;
    begin = std::min(begin, common_prefix(TRY(tokenizer.encode_chat(changed, options)), tokens));
  }
  return begin;
}

// The end of a turn that begins at begin, from the conversation that stops with it; begin if it cannot be found.
std::size_t end_of_turn(const Tokens& until_turn, const Tokens& tokens, std::size_t begin) {
  const std::size_t shared = common_prefix(until_turn, tokens);
  if (shared == until_turn.size()) return shared;
  // Rendered differently now that more follows. Everything from begin to the end of the turn must then be how the short conversation ends.
  const std::size_t longest = std::min(tokens.size() - begin, until_turn.size());
  for (std::size_t length = longest; length > 0; --length) {
    const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(begin);
    if (std::equal(first, first + static_cast<std::ptrdiff_t>(length), until_turn.end() - static_cast<std::ptrdiff_t>(length))) {
      return std::max(shared, begin + length);
    }
  }
  return std::max(shared, begin);
}

}  // namespace

Result<std::vector<TokenSpan>> assistant_spans(const Tokenizer& tokenizer, const Json& messages, const Json* tools, const Tokens& tokens) {
  const ChatOptions plain{false, tools};
  const ChatOptions with_generation_prompt{true, tools};
  std::vector<TokenSpan> spans;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (!is_assistant(messages[i])) continue;
    std::size_t begin = 0;
    if (i == 0) {
      begin = TRY(begin_of_first(tokenizer, messages, plain, tokens));
    } else {
      begin = common_prefix(TRY(tokenizer.encode_chat(first_messages(messages, i), with_generation_prompt)), tokens);
    }
    if (!spans.empty()) begin = std::max(begin, spans.back().end);
    std::size_t end = tokens.size();
    if (i + 1 < messages.size()) end = end_of_turn(TRY(tokenizer.encode_chat(first_messages(messages, i + 1), plain)), tokens, begin);
    if (end <= begin) {
      return Error{ErrorCode::kBadData, fmt::format("cannot find the assistant's message {} in what the chat template makes of the conversation; "
                                                    "train without --mask-prompt, or split the conversation",
                                                    i + 1)};
    }
    spans.push_back({begin, end});
  }
  return spans;
}

}  // namespace evolora
