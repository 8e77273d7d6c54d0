// GGUF file or Hugging Face folder -> MLX model folder (config.json, model.safetensors, tokenizer.json, tokenizer_config.json, chat template).
#pragma once

#include <optional>
#include <string>

#include "base/file_system.h"
#include "formats/quantization.h"

namespace evolora {

struct ConvertRequest {
  fs::path source;                                 // *.gguf, or a folder with config.json and safetensors
  fs::path output;                                 // must not exist yet; appears whole or not at all
  std::optional<AffineQuantization> quantization;  // nullopt: keep as stored (Q4_1 -> 4 bit group 32, Q8_0 -> 8 bit group 32, floats dense)
  bool dequantize = false;                         // dense output
  std::optional<DType> dtype;                      // of dense tensors, scales and biases; default: F16 for GGUF, the source's for folders
};

struct ConvertReport {
  std::size_t tensors = 0;
  std::size_t output_bytes = 0;
  std::size_t lossless_tensors = 0;     // stored values are exactly the source's
  std::size_t requantized_tensors = 0;  // rounded once more
};

// Errors: as the readers; kUnsupported names a tensor type or architecture we do not convert; kIo. On failure no output folder is left.
Result<ConvertReport> convert_model(FileSystem& files, const ConvertRequest& request);

}  // namespace evolora
