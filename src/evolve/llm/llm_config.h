// The configuration file of a search with language models (YAML), its own keys or OpenEvolve's (config_keys.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/file_system.h"
#include "evolve/llm/endpoint.h"
#include "evolve/llm/llm_proposer.h"
#include "evolve/llm/secret.h"

namespace evolora {

// What such a file says about the search itself (SearchPlan's fields); flags of the command go before it.
struct LlmSearchSettings {
  std::optional<std::int64_t> evaluations;
  std::optional<std::int64_t> seed;
  std::optional<std::int64_t> islands;
  std::optional<std::int64_t> migration_interval;
  std::optional<std::int64_t> stagnation;
  std::optional<double> explore;
};

struct LlmConfig {
  std::string source;  // the file, for messages
  EndpointSettings endpoint;
  std::string api_key_env;  // at most one of these; both empty: no key is sent
  fs::path api_key_file;
  bool manual = false;  // the manual queue instead of an endpoint
  LlmProposerSettings proposer;
  std::optional<fs::path> template_folder;
  BudgetLimits budget;
  LlmSearchSettings search;
};

// Paths in the file are relative to its folder. kUsage with "file:line: key: ..." for unknown keys, keys that would do nothing, wrong types and
// ranges, keys that exclude each other, no model, no api_base, money without prices, an API key in the file itself.
Result<LlmConfig> read_llm_config(FileSystem& files, const fs::path& path);

// The key as the configuration says, or an empty one. Call before threads and children are started; see secret.h.
Result<Secret> take_key(const LlmConfig& config);

}  // namespace evolora
