// The "quantization" block of config.json: a default and per-module entries.
#pragma once

#include <map>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "formats/quantization.h"

namespace evolora {

struct QuantizationConfig {
  std::optional<AffineQuantization> default_quantization;                         // nullopt: the model is dense
  std::map<std::string, std::optional<AffineQuantization>, std::less<>> modules;  // nullopt: this module is dense
};

// Reads "quantization" (or its copy "quantization_config") as mlx-lm does: group_size, bits, mode, and per path true, false or an object.
// where: path of the file, begins every message. Errors: kUnsupported (mode other than affine, bits or group not ours, another project's
// quantization_config by its quant_method), kBadData (mistyped values).
Result<QuantizationConfig> parse_quantization_config(const nlohmann::json& config, const std::string& where);

// The block for a default and the modules that differ from it.
nlohmann::ordered_json quantization_block(const QuantizationConfig& quantization);

}  // namespace evolora
