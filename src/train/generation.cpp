// The token loop.
#include "train/generation.h"

#include <algorithm>
#include <cmath>

#include "train/clock.h"

namespace evolora {
namespace {

// Prompts are fed in pieces of this many tokens, as mlx-lm's prefill does, so that the prefill's activations stay small and an interrupt is noticed.
constexpr std::size_t kPrefillTokens = 512;

}  // namespace

Result<GenerationResult> generate(Decoder& decoder, const Tokenizer& tokenizer, const GenerationRequest& request,
                                  const std::function<void(std::string_view)>& on_text) {
  if (request.prompt.empty()) return Error{ErrorCode::kBadData, "the prompt is empty after tokenisation"};
  const auto stopped = [&] { return request.stop != nullptr && request.stop->load(); };
  GenerationResult result;
  StreamDecoder stream(tokenizer);
  Sampler sampler(request.sampling);
  const auto emit = [&](const std::string& piece) {
    result.text += piece;
    if (!piece.empty()) on_text(piece);
  };

  const double start = monotonic_seconds();
  decoder.reset();
  std::span<const float> logits;
  const std::span<const std::int32_t> prompt = request.prompt;
  for (std::size_t fed = 0; fed < prompt.size() && !stopped(); fed += kPrefillTokens) {
    logits = decoder.feed(prompt.subspan(fed, std::min(kPrefillTokens, prompt.size() - fed)));
  }
  const double prefilled = monotonic_seconds();
  result.prompt_seconds = prefilled - start;

  while (static_cast<std::int64_t>(result.tokens.size()) < request.max_tokens) {
    if (stopped()) {
      result.finish = FinishReason::kInterrupted;
      break;
    }
    const bool broken = std::any_of(logits.begin(), logits.end(), [](float value) { return !std::isfinite(value); });
    if (broken) return Error{ErrorCode::kBadData, "the model's logits are not finite: its weights or the adapter hold NaN or infinity"};
    const std::int32_t token = sampler.sample(logits);
    if (request.stop_tokens.contains(token)) {
      result.finish = FinishReason::kStopToken;
      break;
    }
    result.tokens.push_back(token);
    emit(TRY(stream.push(token)));
    if (static_cast<std::int64_t>(result.tokens.size()) < request.max_tokens) logits = decoder.feed(std::span(&token, 1));
  }
  emit(TRY(stream.finish()));
  result.generation_seconds = monotonic_seconds() - prefilled;
  return result;
}

Result<std::vector<std::int32_t>> encode_messages(const Tokenizer& tokenizer, const nlohmann::ordered_json& messages) {
  ChatOptions options;
  options.add_generation_prompt = true;
  return tokenizer.encode_chat(messages, options);
}

Result<std::vector<std::int32_t>> encode_prompt(const Tokenizer& tokenizer, const std::string& prompt, const PromptOptions& options) {
  if (options.ignore_chat_template || !tokenizer.has_chat_template()) return tokenizer.encode(prompt, true);
  nlohmann::ordered_json messages = nlohmann::ordered_json::array();
  if (!options.system_prompt.empty()) messages.push_back({{"role", "system"}, {"content", options.system_prompt}});
  messages.push_back({{"role", "user"}, {"content", prompt}});
  return encode_messages(tokenizer, messages);
}

}  // namespace evolora
