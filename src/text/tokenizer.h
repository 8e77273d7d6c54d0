// Tokenizer and chat template of a model folder, exactly as Hugging Face transformers gives them
// (the `tokenizers` crate and `minijinja`, behind one small Rust bridge; see bridge.h).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"

namespace evolora {

struct ChatOptions {
  bool add_generation_prompt = false;
  const nlohmann::ordered_json* tools = nullptr;  // null: the template sees None
};

// Thread-safe after load (const methods).
class Tokenizer {
 public:
  // Reads tokenizer.json, tokenizer_config.json, chat_template.jinja, generation_config.json and config.json of a model folder.
  // Errors name the file: kNotFound, kBadData, kUnsupported.
  static Result<Tokenizer> load(FileSystem& files, const fs::path& folder);
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // text (UTF-8) -> ids. add_special_tokens: let the post-processor add BOS/EOS (contract 1.12 of mlx-lm).
  Result<std::vector<std::int32_t>> encode(std::string_view text, bool add_special_tokens) const;
  // ids -> text. skip_special_tokens as in transformers; no clean-up of spaces.
  Result<std::string> decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const;

  bool has_chat_template() const;
  // messages: array of {role, content, ...} in the order given. kBadData with the template's own words if it raises.
  Result<std::string> render_chat(const nlohmann::ordered_json& messages, const ChatOptions& options) const;
  // render_chat, then encode without special tokens (the template owns them).
  Result<std::vector<std::int32_t>> encode_chat(const nlohmann::ordered_json& messages, const ChatOptions& options) const;

  std::optional<std::int32_t> eos_token_id() const;      // tokenizer_config's eos_token: appended to text samples
  const std::set<std::int32_t>& stop_token_ids() const;  // that one and those of generation_config / config: generation ends on any
  std::optional<std::int32_t> token_to_id(std::string_view token) const;
  std::size_t vocabulary_size() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Turns a growing list of ids into text pieces that end on whole characters: for streaming output.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  // The text that id completes (may be empty while a character is unfinished).
  Result<std::string> push(std::int32_t id);
  // What is left at the end (may hold U+FFFD for an unfinished character).
  Result<std::string> finish();

 private:
  const Tokenizer& tokenizer_;
  std::vector<std::int32_t> ids_;
  std::size_t prefix_offset_ = 0;
  std::size_t read_offset_ = 0;
};

}  // namespace evolora
