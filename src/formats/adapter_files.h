// The files of an adapter folder as mlx-lm writes and reads them: adapters.safetensors, NNNNNNN_adapters.safetensors, adapter_config.json.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "formats/safetensors.h"

namespace evolora {

// The part of adapter_config.json a loader needs (mlx-lm's load_adapters).
struct AdapterFileConfig {
  std::string fine_tune_type = "lora";
  int num_layers = 16;
  int rank = 8;
  float scale = 20.0F;
  float dropout = 0.0F;
  std::optional<std::vector<std::string>> keys;
};

// Errors name the file and the key: kNotFound, kBadData (missing or mistyped key), kUnsupported (fine_tune_type other than lora: the
// fused engine, which serves every reader of adapter folders, has no DoRA yet).
Result<AdapterFileConfig> read_adapter_config(FileSystem& files, const fs::path& folder);

// Writes vars(args) of a run exactly as mlx-lm does: indent 4, keys sorted at top level only, Python json formatting of numbers, no trailing newline.
Status write_adapter_config(FileSystem& files, const fs::path& folder, const nlohmann::ordered_json& config);

// adapters.safetensors of the folder. Errors as SafetensorsFile::open.
Result<SafetensorsFile> read_adapter_weights(FileSystem& files, const fs::path& folder);

}  // namespace evolora
