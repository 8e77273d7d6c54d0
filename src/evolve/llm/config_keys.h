// Every key that a configuration for language models may have: ours, and all of OpenEvolve 0.4's, so that its YAML files can be used where keys mean
// the same here. A key that would do nothing is not ignored: it is refused with the reason and what to use instead.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "train/setting.h"

namespace evolora {

enum class KeyUse {
  kUsed,     // read; `note` says what it sets
  kOnly,     // this program always does what `only` asks for; other values are refused
  kRefused,  // `note` says why and what to use instead
};

struct ConfigKey {
  std::string_view path;  // "llm.models[].weight"
  bool in_openevolve;
  KeyUse use;
  std::string_view note;
  std::string_view only = "";  // kOnly: the accepted value as JSON
};

const std::vector<ConfigKey>& config_keys();

// One setting for every key of the file, nested ones with their whole path as key; items of llm.models as "llm.models[].weight" with item numbers in
// `item`. kUsage for an unknown key, with the nearest, and for one with a value that would do nothing.
struct ConfigSetting {
  Setting setting;
  std::size_t item = 0;
};
Result<std::vector<ConfigSetting>> check_config_keys(const std::vector<Setting>& settings);

// The table as Markdown: it stands in docs/evolve_llm.md.
std::string config_keys_as_markdown();

}  // namespace evolora
