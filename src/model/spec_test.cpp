// config.json -> spec: defaults of each family, refusals by name, impossible values.
#include "model/spec.h"

#include <gtest/gtest.h>

#include <cmath>

namespace evolora {
namespace {

using nlohmann::json;

json llama_config() {
  return {{"model_type", "llama"},    {"hidden_size", 576},   {"num_hidden_layers", 30}, {"intermediate_size", 1536}, {"num_attention_heads", 9},
          {"num_key_value_heads", 3}, {"rms_norm_eps", 1e-5}, {"vocab_size", 49152},     {"rope_theta", 100000.0}};
}

TEST(ModelSpec, LlamaDefaults) {
  const ModelSpec spec = parse_model_spec(llama_config(), "config.json").value();
  EXPECT_EQ(spec.head_dim, 64);
  EXPECT_EQ(spec.kv_width(), 192);
  EXPECT_TRUE(spec.tie_word_embeddings);
  EXPECT_FALSE(spec.attention_qkv_bias);
  ASSERT_EQ(spec.rope_inverse_frequencies.size(), 32U);
  EXPECT_EQ(spec.rope_inverse_frequencies[0], 1.0F);
  EXPECT_NEAR(spec.rope_inverse_frequencies[31], std::pow(1e5, -31.0 / 32), 1e-5 * std::pow(1e5, -31.0 / 32));
}

TEST(ModelSpec, Qwen2HasQkvBiasOnly) {
  json config = llama_config();
  config["model_type"] = "qwen2";
  config.erase("rope_theta");
  const ModelSpec spec = parse_model_spec(config, "config.json").value();
  EXPECT_TRUE(spec.attention_qkv_bias);
  EXPECT_FALSE(spec.attention_output_bias);
  EXPECT_NEAR(spec.rope_inverse_frequencies[31], std::pow(1e6, -31.0 / 32), 1e-5 * std::pow(1e6, -31.0 / 32));
}

// Golden values from mlx_lm.models.rope_utils.Llama3RoPE(64, base=500000, factor 32, low 1, high 4, original 8192)._freqs, inverted.
TEST(ModelSpec, Llama3RopeScalingStretchesLongWavelengthsOnly) {
  json config = llama_config();
  config["rope_theta"] = 500000.0;
  const ModelSpec plain = parse_model_spec(config, "config.json").value();
  config["rope_scaling"] = {
      {"rope_type", "llama3"}, {"factor", 32.0}, {"low_freq_factor", 1.0}, {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  const ModelSpec scaled = parse_model_spec(config, "config.json").value();
  EXPECT_NEAR(scaled.rope_inverse_frequencies[0], plain.rope_inverse_frequencies[0], 1e-6);
  EXPECT_NEAR(scaled.rope_inverse_frequencies[31] * 32.0F, plain.rope_inverse_frequencies[31], 1e-6F * plain.rope_inverse_frequencies[31] * 10);
  EXPECT_LT(scaled.rope_inverse_frequencies[16], plain.rope_inverse_frequencies[16]);
}

// As mlx-lm: its llama reads layer_types, and a window that no layer asks for means nothing.
TEST(ModelSpec, SlidingLayersHaveAWindow) {
  json config = llama_config();
  config["sliding_window"] = 4096;
  EXPECT_EQ(parse_model_spec(config, "config.json").value().attention_window(3), 0);
  config["layer_types"] = json(30, "full_attention");
  EXPECT_TRUE(parse_model_spec(config, "config.json").value().attention_windows.empty());
  config["layer_types"][3] = "sliding_attention";
  const ModelSpec spec = parse_model_spec(config, "config.json").value();
  EXPECT_EQ(spec.attention_window(2), 0);
  EXPECT_EQ(spec.attention_window(3), 4096);
  config["sliding_window"] = 0;
  EXPECT_EQ(parse_model_spec(config, "config.json").error().code, ErrorCode::kBadData);
  config["sliding_window"] = 4096;
  config["model_type"] = "qwen2";
  EXPECT_EQ(parse_model_spec(config, "config.json").error().code, ErrorCode::kUnsupported);
}

TEST(ModelSpec, EverythingElseIsRefusedByName) {
  const auto refuse = [](const char* key, const json& value, ErrorCode code, const char* words) {
    json config = llama_config();
    if (value.is_discarded()) {
      config.erase(key);
    } else {
      config[key] = value;
    }
    const auto spec = parse_model_spec(config, "m/config.json");
    ASSERT_FALSE(spec.ok()) << key;
    EXPECT_EQ(spec.error().code, code) << spec.error().message;
    EXPECT_NE(spec.error().message.find(words), std::string::npos) << spec.error().message;
    EXPECT_NE(spec.error().message.find("m/config.json"), std::string::npos) << spec.error().message;
    EXPECT_EQ(spec.error().message.find('\n'), std::string::npos);
  };
  const json missing(json::value_t::discarded);
  refuse("model_type", "gemma3", ErrorCode::kUnsupported, "gemma3");
  refuse("model_type", missing, ErrorCode::kUnsupported, "(missing)");
  refuse("hidden_size", missing, ErrorCode::kBadData, "'hidden_size' is missing");
  refuse("hidden_size", "wide", ErrorCode::kBadData, "\"wide\"");
  refuse("hidden_size", -4, ErrorCode::kBadData, "-4");
  refuse("hidden_size", 1e300, ErrorCode::kBadData, "hidden_size");
  refuse("vocab_size", 18446744073709551615ULL, ErrorCode::kBadData, "vocab_size");
  refuse("num_attention_heads", 7, ErrorCode::kBadData, "multiple");
  refuse("num_key_value_heads", 2, ErrorCode::kBadData, "multiple");
  refuse("hidden_act", "gelu", ErrorCode::kUnsupported, "gelu");
  refuse("rope_scaling", {{"type", "yarn"}}, ErrorCode::kUnsupported, "yarn");
  refuse("rope_theta", 0, ErrorCode::kBadData, "rope_theta");
  refuse("rms_norm_eps", -1, ErrorCode::kBadData, "rms_norm_eps");
  refuse("head_dim", 65, ErrorCode::kUnsupported, "head_dim");
  refuse("use_sliding_window", true, ErrorCode::kUnsupported, "use_sliding_window");
  refuse("layer_types", {"sliding_attention"}, ErrorCode::kBadData, "num_hidden_layers = 30");
  refuse("layer_types", "sliding_attention", ErrorCode::kBadData, "layer_types");
  refuse("layer_types", json(30, "sliding_attention"), ErrorCode::kBadData, "'sliding_window' is missing");
  refuse("layer_types", json(30, "chunked_attention"), ErrorCode::kUnsupported, "chunked_attention");
  EXPECT_FALSE(parse_model_spec(json::array(), "x").ok());
}

}  // namespace
}  // namespace evolora
