// Tokenizer of a model folder: files in, handles of the text bridge inside.
#include "text/tokenizer.h"

#include <fmt/format.h>

#include <limits>
#include <utility>

#include "base/check.h"
#include "base/json.h"
#include "text/bridge_handles.h"
#include "text/chat_template.h"
#include "text/special_tokens.h"

namespace evolora {

using Json = nlohmann::ordered_json;

struct Tokenizer::Impl {
  TokenizerHandle handle;
  SpecialTokens special;
  ChatTemplates templates;
  bool has_thinking = false;
  std::optional<std::int32_t> eos;
  std::set<std::int32_t> stop_ids;

  std::optional<std::int32_t> id_of(std::string_view token) const {
    std::uint32_t id = 0;
    if (!evb_tokenizer_token_to_id(handle.get(), token.data(), token.size(), &id)) return std::nullopt;
    return checked_cast<std::int32_t>(id);
  }
  bool has_all(std::initializer_list<const char*> tokens) const {
    for (const char* token : tokens) {
      if (!id_of(token)) return false;
    }
    return true;
  }
  // A model is one that thinks if its vocabulary has a known pair of markers; mlx-lm passes exactly this to the template as enable_thinking.
  bool vocabulary_has_thinking() const {
    return has_all({"<think>", "</think>"}) || has_all({"<longcat_think>", "</longcat_think>"}) || has_all({"<|think:start|>", "<|think:end|>"}) ||
           has_all({"<|channel>", "<channel|>"}) || has_all({"<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"});
  }
};

namespace {

Result<TokenizerHandle> create_handle(FileSystem& files, const fs::path& path, const Json& to_add, bool split_special_tokens) {
  if (!files.exists(path)) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: no such file; a model folder needs the tokenizer in this form", path.string())};
  }
  const MappedFile file = TRY(files.map(path));
  const std::string extra = TRY(json_to_text(to_add));
  BridgeText error;
  TokenizerHandle handle(evb_tokenizer_create(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size(), extra.data(), extra.size(),
                                              split_special_tokens, error.out()));
  if (handle == nullptr) return Error{ErrorCode::kBadData, fmt::format("{}: not a usable tokenizer: {}", path.string(), error.str())};
  if (evb_tokenizer_vocabulary_size(handle.get()) > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max())) {
    return Error{ErrorCode::kTooLarge, fmt::format("{}: more tokens than 32-bit ids", path.string())};
  }
  return handle;
}

// "eos_token_id": an id or a list of ids; null, 0 and [] count as absent, as in mlx-lm.
Result<std::vector<std::int32_t>> eos_ids(const fs::path& path, const Json& config) {
  std::vector<std::int32_t> out;
  const auto found = config.find("eos_token_id");
  if (found == config.end() || found->is_null()) return out;
  const Json list = found->is_array() ? *found : Json::array({*found});
  for (const Json& id : list) {
    const bool fits = id.is_number_integer() && id.get<double>() >= 0 && id.get<double>() <= std::numeric_limits<std::int32_t>::max();
    if (!fits)
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: \"eos_token_id\": expected a token id or a list of them, found {}", path.string(), id.dump())};
    if (found->is_array() || id.get<std::int64_t>() != 0) out.push_back(id.get<std::int32_t>());
  }
  return out;
}

Result<std::vector<std::int32_t>> model_eos_ids(FileSystem& files, const fs::path& folder) {
  const fs::path generation_path = folder / "generation_config.json";
  const Json generation = TRY(read_json_object_if_there(files, generation_path));
  std::vector<std::int32_t> ids = TRY(eos_ids(generation_path, generation));
  if (!ids.empty()) return ids;
  const fs::path config_path = folder / "config.json";
  const Json config = TRY(read_json_object_if_there(files, config_path));
  return eos_ids(config_path, config);
}

bool flag(const Json& config, const char* name) {
  const auto found = config.find(name);
  return found != config.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

// "add_bos_token" and "add_eos_token" of tokenizer_config.json are not looked at: transformers 5 drops them where there is a tokenizer.json,
// whose post-processor alone decides.
Result<Tokenizer> Tokenizer::load(FileSystem& files, const fs::path& folder) {
  const fs::path config_path = folder / "tokenizer_config.json";
  const Json config = TRY(read_json_object_if_there(files, config_path));
  auto impl = std::make_unique<Impl>();
  impl->special = TRY(read_special_tokens(files, config_path, config));
  impl->handle = TRY(create_handle(files, folder / "tokenizer.json", impl->special.to_add, flag(config, "split_special_tokens")));
  impl->templates = TRY(ChatTemplates::load(files, folder, config));
  impl->has_thinking = impl->vocabulary_has_thinking();
  if (const auto eos = impl->special.text_of("eos_token")) impl->eos = impl->id_of(*eos);
  for (const std::int32_t id : TRY(model_eos_ids(files, folder))) impl->stop_ids.insert(id);
  if (impl->eos) impl->stop_ids.insert(*impl->eos);
  return Tokenizer(std::move(impl));
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  BridgeIds ids;
  BridgeText error;
  if (!evb_tokenizer_encode(impl_->handle.get(), text.data(), text.size(), add_special_tokens, ids.out(), error.out())) {
    return Error{ErrorCode::kBadData, "cannot tokenise: " + error.str()};
  }
  return ids.ids();
}

Result<std::string> Tokenizer::decode(const std::vector<std::int32_t>& ids, bool skip_special_tokens) const {
  std::vector<std::uint32_t> unsigned_ids;
  unsigned_ids.reserve(ids.size());
  for (const std::int32_t id : ids) {
    if (id < 0) return Error{ErrorCode::kBadData, fmt::format("cannot decode: {} is not a token id", id)};
    unsigned_ids.push_back(static_cast<std::uint32_t>(id));
  }
  BridgeText text, error;
  if (!evb_tokenizer_decode(impl_->handle.get(), unsigned_ids.data(), unsigned_ids.size(), skip_special_tokens, text.out(), error.out())) {
    return Error{ErrorCode::kBadData, "cannot decode: " + error.str()};
  }
  return text.str();
}

bool Tokenizer::has_chat_template() const { return !impl_->templates.empty(); }

Result<std::string> Tokenizer::render_chat(const Json& messages, const ChatOptions& options) const {
  return impl_->templates.render(messages, options, impl_->special.named, impl_->has_thinking);
}

Result<std::vector<std::int32_t>> Tokenizer::encode_chat(const Json& messages, const ChatOptions& options) const {
  return encode(TRY(render_chat(messages, options)), false);
}

std::optional<std::int32_t> Tokenizer::eos_token_id() const { return impl_->eos; }
const std::set<std::int32_t>& Tokenizer::stop_token_ids() const { return impl_->stop_ids; }
std::optional<std::int32_t> Tokenizer::token_to_id(std::string_view token) const { return impl_->id_of(token); }
std::size_t Tokenizer::vocabulary_size() const { return evb_tokenizer_vocabulary_size(impl_->handle.get()); }

}  // namespace evolora
