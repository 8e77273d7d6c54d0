// What a decoder-only transformer is made of: one description for all families (Llama, Qwen2 now), read from config.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

struct ModelSpec {
  std::string model_type;              // "llama", "qwen2"
  std::int64_t hidden_size = 0;        // D
  std::int64_t num_layers = 0;         // L
  std::int64_t intermediate_size = 0;  // I
  std::int64_t num_heads = 0;          // H
  std::int64_t num_kv_heads = 0;       // G
  std::int64_t head_dim = 0;           // C
  std::int64_t vocab_size = 0;         // V
  float rms_norm_eps = 1e-6F;
  std::vector<float> rope_inverse_frequencies;  // (C/2) angle per position; scaling (linear, llama3) already applied
  bool rope_traditional = false;                // pairs (2i, 2i+1) instead of (i, i + C/2)
  bool tie_word_embeddings = true;
  bool attention_qkv_bias = false;
  bool attention_output_bias = false;
  bool mlp_bias = false;
  std::int64_t max_position_embeddings = 0;
  std::vector<std::int64_t> attention_windows;  // (L) keys that a query of the layer sees, itself included, 0: all before it; empty: 0 everywhere

  std::int64_t query_width() const { return num_heads * head_dim; }
  std::int64_t kv_width() const { return num_kv_heads * head_dim; }
  std::int64_t attention_window(std::int64_t layer) const {
    return attention_windows.empty() ? 0 : attention_windows[static_cast<std::size_t>(layer)];
  }
};

// config: a model folder's config.json; source: its path, for messages. mlx-lm's remaps apply (mistral -> llama).
// Errors: kUnsupported naming the architecture, rope scaling, activation or kind of attention; kBadData for a missing, mistyped or impossible value
// (names the key).
Result<ModelSpec> parse_model_spec(const nlohmann::json& config, const std::string& source);

}  // namespace evolora
