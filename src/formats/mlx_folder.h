// An MLX (or plain Hugging Face) model folder: config.json, all model*.safetensors, and which modules are quantized how.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "formats/quantization.h"
#include "formats/safetensors.h"

namespace evolora {

// Thread-safe after open. Tensor views live as long as a copy of the folder object.
class MlxFolder {
 public:
  // Reads config.json and maps every model*.safetensors. Errors name the file: kNotFound (folder, config or weights missing; shard named by the
  // index missing), kCorrupt, kBadData (config not an object, the same tensor in two shards), kUnsupported (quantization mode other than affine,
  // bits or group not ours, foreign quantization_config such as gptq).
  static Result<MlxFolder> open(FileSystem& files, const fs::path& folder);

  const fs::path& path() const { return path_; }
  const nlohmann::json& config() const { return config_; }
  const TensorView* find(std::string_view name) const;  // nullptr if absent
  std::vector<std::string> tensor_names() const;        // sorted

  // How "<module>.weight" is stored: by the per-module entry of config.json "quantization" if there is one, else by whether "<module>.scales" exists
  // and the default group and bits. nullopt: dense.
  std::optional<AffineQuantization> quantization_of(std::string_view module) const;

 private:
  fs::path path_;
  nlohmann::json config_;
  std::vector<SafetensorsFile> shards_;
  std::map<std::string, std::pair<std::size_t, std::size_t>, std::less<>> index_;  // tensor name -> (shard, position)
  std::optional<AffineQuantization> default_quantization_;
  std::map<std::string, std::optional<AffineQuantization>, std::less<>> module_quantization_;
};

}  // namespace evolora
