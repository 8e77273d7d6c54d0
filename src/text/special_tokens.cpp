// Names and added tokens, in the order in which transformers adds them: added_tokens_decoder by id, named tokens, extra tokens.
#include "text/special_tokens.h"

#include <fmt/format.h>

#include <charconv>
#include <map>

#include "base/json.h"

namespace evolora {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kStandardNames[] = {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

bool is_standard_name(const std::string& name) {
  for (const char* standard : kStandardNames) {
    if (name == standard) return true;
  }
  return false;
}

// A token is its text, or an object with "content" and flags.
const std::string* token_text(const Json& token) {
  if (token.is_string()) return token.get_ptr<const std::string*>();
  if (!token.is_object()) return nullptr;
  const auto content = token.find("content");
  return content != token.end() ? content->get_ptr<const std::string*>() : nullptr;
}

Json entry(const Json& token, bool special, bool only_if_missing) {
  Json out = {{"content", *token_text(token)}};
  if (token.is_object()) {
    for (const char* flag : {"single_word", "lstrip", "rstrip", "normalized", "special"}) {
      const auto value = token.find(flag);
      if (value != token.end() && value->is_boolean()) out[flag] = *value;
    }
  }
  if (special) out["special"] = true;
  out["only_if_missing"] = only_if_missing;
  return out;
}

Error wrong_type(const fs::path& path, const std::string& key, const Json& value) {
  return Error{ErrorCode::kBadData,
               fmt::format("{}: \"{}\": expected a token (text, or an object with \"content\"), found {}", path.string(), key, value.type_name())};
}

Status read_decoder(const fs::path& path, const Json& decoder, std::map<std::int64_t, Json>& by_id) {
  if (!decoder.is_object()) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: \"added_tokens_decoder\": expected an object of id: token, found {}", path.string(), decoder.type_name())};
  }
  for (const auto& [key, token] : decoder.items()) {
    std::int64_t id = 0;
    const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (failure != std::errc() || end != key.data() + key.size()) {
      return Error{ErrorCode::kBadData, fmt::format("{}: \"added_tokens_decoder\": expected an id, found \"{}\"", path.string(), key)};
    }
    if (token_text(token) == nullptr) return wrong_type(path, "added_tokens_decoder." + key, token);
    by_id[id] = token;
  }
  return {};
}

}  // namespace

std::optional<std::string> SpecialTokens::text_of(const std::string& name) const {
  const auto found = named.find(name);
  return found == named.end() ? std::nullopt : std::optional(found->get<std::string>());
}

Result<SpecialTokens> read_special_tokens(FileSystem& files, const fs::path& path, const Json& config) {
  Json merged = config;
  std::map<std::int64_t, Json> by_id;
  if (config.contains("added_tokens_decoder")) {
    TRY(read_decoder(path, config["added_tokens_decoder"], by_id));
  } else {
    merged.update(TRY(read_json_object_if_there(files, path.parent_path() / "special_tokens_map.json")));
  }
  std::map<std::string, Json> by_text;
  SpecialTokens out;
  for (const auto& [id, token] : by_id) {
    by_text[*token_text(token)] = token;
    out.to_add.push_back(entry(token, false, false));
  }

  // "extra_special_tokens" may be a list, or an object that names tokens as the standard keys do; "additional_special_tokens" is its old name.
  const auto present = [&](const char* key) { return merged.contains(key) && !merged[key].is_null() && !merged[key].empty(); };
  const char* extra_key = present("extra_special_tokens") ? "extra_special_tokens" : "additional_special_tokens";
  const Json extra = present(extra_key) ? merged[extra_key] : Json::array();

  std::vector<std::pair<std::string, Json>> named;
  for (const char* key : kStandardNames) {
    if (merged.contains(key) && !merged[key].is_null()) named.emplace_back(key, merged[key]);
  }
  for (const auto& [key, value] : merged.items()) {
    if (key.ends_with("_token") && !is_standard_name(key) && token_text(value) != nullptr) named.emplace_back(key, value);
  }
  if (extra.is_object()) {
    for (const auto& [key, value] : extra.items()) named.emplace_back(key, value);
  }
  for (const auto& [key, value] : named) {
    if (token_text(value) == nullptr) return wrong_type(path, key, value);
    const std::string text = *token_text(value);
    out.named[key] = text;
    const auto known = by_text.find(text);
    out.to_add.push_back(entry(known != by_text.end() ? known->second : value, true, true));
  }
  if (extra.is_array()) {
    for (const Json& value : extra) {
      if (token_text(value) == nullptr) return wrong_type(path, extra_key, value);
      out.to_add.push_back(entry(value, true, true));
    }
  }
  return out;
}

}  // namespace evolora
