// Tokenisation of records and their supervision masks: mlx-lm's rules, and the native ones.
#include "data/samples.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "data/assistant_spans.h"

namespace evolora {

namespace {

using Json = nlohmann::ordered_json;

struct Conversation {
  Json messages;
  const Json* tools = nullptr;
};

Conversation conversation_of(const Record& record, RecordFormat format, const FeatureNames& names) {
  Conversation out;
  const auto tools = record.fields.find("tools");
  if (tools != record.fields.end() && !tools->is_null()) out.tools = &*tools;
  if (format == RecordFormat::kChat) {
    out.messages = record.fields[names.chat];
  } else {
    out.messages = Json::array(
        {{{"role", "user"}, {"content", record.fields[names.prompt]}}, {{"role", "assistant"}, {"content", record.fields[names.completion]}}});
  }
  return out;
}

void supervise(Sample& sample, std::size_t begin, std::size_t end) {
  for (std::size_t i = std::max<std::size_t>(begin, 1); i < end; ++i) sample.supervised[i] = 1;
}

// Tokens of a text record, ended by EOS. Empty text is an error in mlx-lm unless the tokenizer adds BOS.
Result<std::vector<std::int32_t>> text_tokens(const Record& record, const Tokenizer& tokenizer, const SampleOptions& options) {
  const auto& text = record.fields[options.names.text].get_ref<const std::string&>();
  std::vector<std::int32_t> tokens = TRY(tokenizer.encode(text, true));
  const auto eos = tokenizer.eos_token_id();
  if (!eos) {
    return Error{ErrorCode::kBadData, "text records end with the EOS token, but the model's tokenizer_config.json names no \"eos_token\""};
  }
  if (tokens.empty() && options.semantics == Semantics::kCompatMlxLm) return Error{ErrorCode::kBadData, "empty text; mlx-lm stops here as well"};
  if (tokens.empty() || tokens.back() != *eos) tokens.push_back(*eos);
  return tokens;
}

// mlx-lm's prompt length: all messages but the last, with the assistant's header if the last is the assistant's.
Result<std::int64_t> mlx_lm_offset(const Conversation& conversation, const Tokenizer& tokenizer) {
  Json prompt = conversation.messages;
  const Json& last = conversation.messages.back();
  const bool answer = last.contains("role") && last["role"] == "assistant";
  prompt.erase(prompt.size() - 1);
  return static_cast<std::int64_t>(TRY(tokenizer.encode_chat(prompt, ChatOptions{answer, conversation.tools})).size());
}

Result<Sample> make_sample(const Record& record, RecordFormat format, const Tokenizer& tokenizer, const SampleOptions& options) {
  Sample sample;
  sample.line = record.line;
  sample.top_level_keys = record.fields.size();
  if (format == RecordFormat::kText) {
    sample.tokens = TRY(text_tokens(record, tokenizer, options));
    sample.supervised.assign(sample.tokens.size(), 0);
    supervise(sample, 1, sample.tokens.size());
    return sample;
  }
  const Conversation conversation = conversation_of(record, format, options.names);
  sample.tokens = TRY(tokenizer.encode_chat(conversation.messages, ChatOptions{false, conversation.tools}));
  sample.supervised.assign(sample.tokens.size(), 0);
  if (!options.mask_prompt) {
    supervise(sample, 1, sample.tokens.size());
  } else if (options.semantics == Semantics::kCompatMlxLm) {
    sample.offset = TRY(mlx_lm_offset(conversation, tokenizer));
    supervise(sample, static_cast<std::size_t>(sample.offset), sample.tokens.size());
  } else {
    for (const TokenSpan& span : TRY(assistant_spans(tokenizer, conversation.messages, conversation.tools, sample.tokens))) {
      supervise(sample, span.begin, span.end);
    }
  }
  return sample;
}

bool has_supervision(const Sample& sample) { return std::find(sample.supervised.begin(), sample.supervised.end(), 1) != sample.supervised.end(); }

}  // namespace

Result<SampleSet> make_samples(const RecordFile& file, const Tokenizer& tokenizer, const SampleOptions& options) {
  if (options.max_seq_length < 1) return Error{ErrorCode::kUsage, fmt::format("max_seq_length must be at least 1, got {}", options.max_seq_length)};
  if (options.mask_prompt && file.format == RecordFormat::kText) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: prompt masking is not possible for text records; leave --mask-prompt out, or use \"{}\" and \"{}\", or \"{}\"",
                             file.path.string(), options.names.prompt, options.names.completion, options.names.chat)};
  }
  const auto limit = static_cast<std::size_t>(options.max_seq_length);
  const bool native = options.semantics == Semantics::kNative;
  SampleSet out;
  out.samples.reserve(file.records.size());
  for (const Record& record : file.records) {
    Result<Sample> made = make_sample(record, file.format, tokenizer, options);
    if (!made.ok()) return Error{made.error().code, fmt::format("{}:{}: {}", file.path.string(), record.line, made.error().message)};
    Sample sample = std::move(made).value();
    out.longest_tokens = std::max(out.longest_tokens, sample.tokens.size());
    if (sample.tokens.size() > limit) {
      ++out.truncated;
      if (native) {
        sample.tokens.resize(limit);
        sample.supervised.resize(limit);
      }
    }
    if (native && !has_supervision(sample)) {
      ++out.without_supervision;
      out.unsupervised_lines.push_back(sample.line);
      continue;
    }
    out.samples.push_back(std::move(sample));
  }
  if (out.samples.empty() && out.without_supervision > 0) {
    return Error{
        ErrorCode::kBadData,
        fmt::format(
            "{}:{}: nothing to learn in this nor in any other sample: after masking and cutting to max_seq_length {} no supervised token is left",
            file.path.string(), out.unsupervised_lines.front(), options.max_seq_length)};
  }
  return out;
}

}  // namespace evolora
