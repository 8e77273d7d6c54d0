// The special tokens that tokenizer_config.json names, as transformers 5 reads them.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/file_system.h"

namespace evolora {

struct SpecialTokens {
  nlohmann::ordered_json named =
      nlohmann::ordered_json::object();  // "bos_token": "<s>", ...: variables of the chat template; only those that are set
  nlohmann::ordered_json to_add = nlohmann::ordered_json::array();  // in the form of evb_tokenizer_create

  std::optional<std::string> text_of(const std::string& name) const;
};

// config: tokenizer_config.json (path: its name for errors). Folders of older tools keep the names in special_tokens_map.json beside it;
// as in transformers that file counts only if config has no "added_tokens_decoder". kBadData: a token of the wrong type.
Result<SpecialTokens> read_special_tokens(FileSystem& files, const fs::path& path, const nlohmann::ordered_json& config);

}  // namespace evolora
