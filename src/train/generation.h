// Text generation: feed the prompt, then sample, feed, stream until a stop token, the token limit or an interrupt.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/decoder.h"
#include "text/tokenizer.h"
#include "train/sampler.h"

namespace evolora {

struct GenerationRequest {
  std::vector<std::int32_t> prompt;  // at least one token; prompt + max_tokens fits the decoder
  std::int64_t max_tokens = 100;
  SamplingOptions sampling;
  std::set<std::int32_t> stop_tokens;  // end the text and are not part of it
  const std::atomic<bool>* stop = nullptr;
};

enum class FinishReason { kStopToken, kLength, kInterrupted };

struct GenerationResult {
  std::vector<std::int32_t> tokens;  // without the stop token
  std::string text;
  FinishReason finish = FinishReason::kLength;
  double prompt_seconds = 0;  // to the first token's logits
  double generation_seconds = 0;
};

// on_text gets pieces of whole characters as they become known. The decoder is reset first. Errors: kBadData for an empty prompt, or logits that are
// not finite (a broken adapter).
Result<GenerationResult> generate(Decoder& decoder, const Tokenizer& tokenizer, const GenerationRequest& request,
                                  const std::function<void(std::string_view)>& on_text);

struct PromptOptions {
  std::string system_prompt;  // empty: none
  bool ignore_chat_template = false;
};

// A user's prompt as the model wants it: through the chat template with the generation prompt, or as plain text (with special tokens) if there is no
// template or it is to be ignored.
Result<std::vector<std::int32_t>> encode_prompt(const Tokenizer& tokenizer, const std::string& prompt, const PromptOptions& options);
// The same for a conversation.
Result<std::vector<std::int32_t>> encode_messages(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages);

}  // namespace evolora
