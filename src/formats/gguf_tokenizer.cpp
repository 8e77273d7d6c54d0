// The pieces of tokenizer.json that GGUF keeps only by name (pre-tokenizers) are written out again; vocabulary and merges are carried over.
#include "formats/gguf_tokenizer.h"

#include <unordered_map>

#include "formats/json_text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// Splitting patterns of the model families, as published in their tokenizer.json files. They differ in how many digits stay together.
constexpr const char* kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr const char* kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Token types of the format.
enum TokenType : std::int64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

std::string json_string(std::string_view text) { return Json(std::string(text)).dump(); }  // the reader has checked UTF-8

struct Splitting {
  Json normalizer;
  Json pre_tokenizer;
  bool ignore_merges = false;
  bool adds_bos = false;  // when the file does not say
};

Json byte_level(bool add_prefix_space, bool trim_offsets, bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", add_prefix_space}, {"trim_offsets", trim_offsets}, {"use_regex", use_regex}};
}

Json pattern_then_bytes(const char* pattern, bool add_prefix_space) {
  const Json split = {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}};
  return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level(add_prefix_space, false, false)})}};
}

std::optional<Splitting> splitting_of(std::string_view pre, bool add_prefix_space) {
  if (pre == "smollm") {
    const Json digits = {{"type", "Digits"}, {"individual_digits", true}};
    return Splitting{nullptr, {{"type", "Sequence"}, {"pretokenizers", Json::array({digits, byte_level(add_prefix_space, true, true)})}}};
  }
  if (pre == "qwen2") return Splitting{{{"type", "NFC"}}, pattern_then_bytes(kQwen2Pattern, add_prefix_space)};
  if (pre == "llama-bpe") return Splitting{nullptr, pattern_then_bytes(kLlama3Pattern, add_prefix_space), true, true};
  if (pre == "default" || pre == "gpt-2" || pre == "gpt2") return Splitting{nullptr, byte_level(add_prefix_space, true, true)};
  return std::nullopt;
}

class TokenizerReader {
 public:
  explicit TokenizerReader(const GgufFile& file) : file_(file), where_(file.path().string()) {}

  Result<std::vector<SmallFile>> read() {
    TRY(read_splitting());
    TRY(read_vocabulary());
    TRY(read_special_tokens());
    std::vector<SmallFile> out;
    out.push_back({"tokenizer.json", TRY(tokenizer_json())});
    out.push_back({"tokenizer_config.json", TRY(tokenizer_config())});
    if (ids_.contains("eos_token")) out.push_back({"generation_config.json", generation_config()});
    return out;
  }

 private:
  Error bad(const std::string& message) const { return Error{ErrorCode::kBadData, where_ + ": " + message}; }
  Error unsupported(const std::string& message) const { return Error{ErrorCode::kUnsupported, where_ + ": " + message}; }

  Result<bool> flag(const char* key, bool fallback) const {
    const GgufValue* value = file_.value(key);
    if (value == nullptr) return fallback;
    if (const bool* b = std::get_if<bool>(value)) return *b;
    return bad(std::string("metadata key '") + key + "': expected a boolean");
  }

  Status read_splitting() {
    const std::string_view model = TRY(file_.string("tokenizer.ggml.model"));
    if (model != "gpt2") return unsupported("tokenizer model '" + std::string(model) + "' is not supported; supported: gpt2 (byte-level BPE)");
    const std::string_view pre = TRY(file_.string("tokenizer.ggml.pre"));
    std::optional<Splitting> splitting = splitting_of(pre, TRY(flag("tokenizer.ggml.add_space_prefix", false)));
    if (!splitting) {
      return unsupported("pre-tokenizer '" + std::string(pre) + "' is not supported; supported: smollm, qwen2, llama-bpe, default, gpt-2");
    }
    splitting_ = std::move(*splitting);
    add_bos_ = TRY(flag("tokenizer.ggml.add_bos_token", splitting_.adds_bos));
    add_eos_ = TRY(flag("tokenizer.ggml.add_eos_token", false));
    return {};
  }

  Status read_vocabulary() {
    tokens_ = TRY(file_.strings("tokenizer.ggml.tokens"));
    types_ = TRY(file_.integers("tokenizer.ggml.token_type"));
    merges_ = TRY(file_.strings("tokenizer.ggml.merges"));
    if (types_->size() != tokens_->size()) {
      return bad("expected a type for each of " + std::to_string(tokens_->size()) + " tokens, got " + std::to_string(types_->size()));
    }
    if (const GgufTensor* embedding = file_.find("token_embd.weight");
        embedding != nullptr && tokens_->size() > static_cast<std::size_t>(embedding->shape.front())) {
      return bad(std::to_string(tokens_->size()) + " tokens, but 'token_embd.weight' has " + std::to_string(embedding->shape.front()) + " rows");
    }
    vocabulary_.reserve(tokens_->size());
    for (std::size_t i = 0; i < tokens_->size(); ++i) {
      const auto [it, is_new] = vocabulary_.emplace((*tokens_)[i], i);
      if (!is_new) return bad("tokens " + std::to_string(it->second) + " and " + std::to_string(i) + " are the same text");
    }
    return {};
  }

  Status read_special_tokens() {
    const std::pair<const char*, const char*> keys[] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                                        {"eos_token", "tokenizer.ggml.eos_token_id"},
                                                        {"unk_token", "tokenizer.ggml.unknown_token_id"},
                                                        {"pad_token", "tokenizer.ggml.padding_token_id"}};
    for (const auto& [name, key] : keys) {
      if (file_.value(key) == nullptr) continue;
      const std::int64_t id = TRY(file_.integer(key));
      if (id < 0 || static_cast<std::size_t>(id) >= tokens_->size()) {
        return bad(std::string("metadata key '") + key + "': " + std::to_string(id) + " is no token (0 to " + std::to_string(tokens_->size() - 1) +
                   ")");
      }
      ids_[name] = id;
    }
    if (add_bos_ && !ids_.contains("bos_token")) return bad("a BOS token is to be added, but 'tokenizer.ggml.bos_token_id' is missing");
    if (add_eos_ && !ids_.contains("eos_token")) return bad("an EOS token is to be added, but 'tokenizer.ggml.eos_token_id' is missing");
    return {};
  }

  std::string token_text(const char* name) const { return std::string((*tokens_)[static_cast<std::size_t>(ids_.at(name))]); }

  Json added_tokens() const {
    Json added = Json::array();
    for (std::size_t i = 0; i < tokens_->size(); ++i) {
      const std::int64_t type = (*types_)[i];
      if (type != kControl && type != kUserDefined && type != kUnknown) continue;
      added.push_back({{"id", i},
                       {"content", std::string((*tokens_)[i])},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", type != kUserDefined}});
    }
    return added;
  }

  // The plain post-processor only trims offsets; a template adds BOS and EOS where the file asks for them.
  Json post_processor() const {
    const Json bytes = byte_level(true, false, true);
    if (!add_bos_ && !add_eos_) return bytes;
    Json single = Json::array();
    Json pair = Json::array();
    Json specials = Json::object();
    const auto put_special = [&](const char* name, int sequence) {
      const std::string text = token_text(name);
      const Json entry = {{"SpecialToken", {{"id", text}, {"type_id", sequence}}}};
      if (sequence == 0) single.push_back(entry);
      pair.push_back(entry);
      specials[text] = {{"id", text}, {"ids", {ids_.at(name)}}, {"tokens", {text}}};
    };
    const auto put_text = [&](const char* id, int sequence) {
      const Json entry = {{"Sequence", {{"id", id}, {"type_id", sequence}}}};
      if (sequence == 0) single.push_back(entry);
      pair.push_back(entry);
    };
    for (int sequence = 0; sequence < 2; ++sequence) {
      if (add_bos_) put_special("bos_token", sequence);
      put_text(sequence == 0 ? "A" : "B", sequence);
      if (add_eos_) put_special("eos_token", sequence);
    }
    const Json processor = {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", specials}};
    return {{"type", "Sequence"}, {"processors", Json::array({bytes, processor})}};
  }

  // "vocab" and "merges" are appended as text: an ordered_json object of 10^5 keys would be built in quadratic time.
  Result<std::string> tokenizer_json() const {
    Json head = {{"version", "1.0"},
                 {"truncation", nullptr},
                 {"padding", nullptr},
                 {"added_tokens", added_tokens()},
                 {"normalizer", splitting_.normalizer},
                 {"pre_tokenizer", splitting_.pre_tokenizer},
                 {"post_processor", post_processor()},
                 {"decoder", byte_level(true, true, true)}};
    const Json model = {{"type", "BPE"},
                        {"dropout", nullptr},
                        {"unk_token", nullptr},
                        {"continuing_subword_prefix", nullptr},
                        {"end_of_word_suffix", nullptr},
                        {"fuse_unk", false},
                        {"byte_fallback", false},
                        {"ignore_merges", splitting_.ignore_merges}};
    std::string text = head.dump();
    text.pop_back();
    text += ",\"model\":" + model.dump();
    text.pop_back();
    text += ",\"vocab\":{";
    for (std::size_t i = 0; i < tokens_->size(); ++i) text += (i == 0 ? "" : ",") + json_string((*tokens_)[i]) + ":" + std::to_string(i);
    text += "},\"merges\":[";
    for (std::size_t i = 0; i < merges_->size(); ++i) {
      TRY(check_merge(i));
      text += (i == 0 ? "" : ",") + json_string((*merges_)[i]);
    }
    return text + "]}}";
  }

  Status check_merge(std::size_t i) const {
    const std::string_view merge = (*merges_)[i];
    const std::size_t space = merge.find(' ');
    if (space == std::string_view::npos || merge.find(' ', space + 1) != std::string_view::npos) {
      return bad("merge " + std::to_string(i) + ": expected two pieces and one space, got " + json_string(merge));
    }
    const std::string joined = std::string(merge.substr(0, space)) + std::string(merge.substr(space + 1));
    for (const std::string_view piece : {merge.substr(0, space), merge.substr(space + 1), std::string_view(joined)}) {
      if (!vocabulary_.contains(piece)) return bad("merge " + std::to_string(i) + ": " + json_string(piece) + " is not in the vocabulary");
    }
    return {};
  }

  Result<std::string> tokenizer_config() const {
    Json config = Json::object();
    config["add_prefix_space"] = TRY(flag("tokenizer.ggml.add_space_prefix", false));
    for (const char* name : {"bos_token", "eos_token", "pad_token", "unk_token"}) {
      if (ids_.contains(name)) config[name] = token_text(name);
    }
    if (file_.value("tokenizer.chat_template") != nullptr) config["chat_template"] = std::string(TRY(file_.string("tokenizer.chat_template")));
    config["clean_up_tokenization_spaces"] = false;
    const std::string context = std::string(TRY(file_.string("general.architecture"))) + ".context_length";
    config["model_max_length"] = TRY(file_.integer(context));
    config["tokenizer_class"] = "PreTrainedTokenizerFast";
    return python_json(with_sorted_keys(config));
  }

  std::string generation_config() const {
    Json config = Json::object();
    for (const char* name : {"bos_token", "eos_token", "pad_token"}) {
      if (ids_.contains(name)) config[std::string(name) + "_id"] = ids_.at(name);
    }
    return python_json(config);
  }

  const GgufFile& file_;
  std::string where_;
  Splitting splitting_;
  bool add_bos_ = false;
  bool add_eos_ = false;
  const std::vector<std::string_view>* tokens_ = nullptr;
  const std::vector<std::int64_t>* types_ = nullptr;
  const std::vector<std::string_view>* merges_ = nullptr;
  std::unordered_map<std::string_view, std::size_t> vocabulary_;
  std::map<std::string, std::int64_t> ids_;  // of bos_token, eos_token, unk_token, pad_token
};

}  // namespace

Result<std::vector<SmallFile>> gguf_tokenizer_files(const GgufFile& file) { return TokenizerReader(file).read(); }

}  // namespace evolora
