// A GGUF file as a decoder model: its dimensions under MLX names, config.json, and which tensor is which module.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "formats/gguf.h"

namespace evolora {

// One tensor of the file under its MLX name.
struct GgufModelTensor {
  const GgufTensor* tensor = nullptr;
  std::string name;                // "model.layers.0.self_attn.q_proj.weight"
  std::int64_t rotated_heads = 0;  // > 0: rows lie in pairs per head (llama.cpp's order for rotation) and must be put back
};

// Row of the file that holds MLX row `row`: inside each head, llama.cpp interleaves the two halves that rotate together.
std::int64_t gguf_row(const GgufModelTensor& tensor, std::int64_t row);

struct GgufModel {
  nlohmann::ordered_json config;  // config.json but for torch_dtype and quantization
  std::vector<GgufModelTensor> tensors;
};

// Views into file, which must outlive the result. Errors: kUnsupported naming the architecture, rope scaling, a mixture of experts or a tensor that
// has no place; kBadData for missing keys and tensors and for shapes (expected and got).
Result<GgufModel> read_gguf_model(const GgufFile& file);

}  // namespace evolora
