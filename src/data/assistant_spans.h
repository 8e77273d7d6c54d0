// Where the assistant's words are in the tokens of a conversation: what native --mask-prompt learns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "text/tokenizer.h"

namespace evolora {

struct TokenSpan {
  std::size_t begin = 0;
  std::size_t end = 0;  // one past the last
};

// tokens: encode_chat(messages, {false, tools}). One span per assistant message, ascending and disjoint: from the end of the header that a generation
// prompt writes to the end of the turn, its end-of-turn tokens included. Templates do not say where a turn is, so prefixes of the conversation are
// rendered with and without generation prompt and compared with the whole by tokens. A template may render a turn differently once others follow
// (Qwen3 drops earlier reasoning); then the end is where the same words end. kBadData if the template refuses a prefix or a turn cannot be found.
Result<std::vector<TokenSpan>> assistant_spans(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages,
                                               const nlohmann::ordered_json* tools, const std::vector<std::int32_t>& tokens);

}  // namespace evolora
