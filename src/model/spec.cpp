// config.json -> ModelSpec. What a family leaves out of its config is filled in as mlx-lm's model classes do.
#include "model/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace evolora {
namespace {

using nlohmann::json;

// No dimension of a real model comes near this; products of three still fit in 64 bits.
constexpr std::int64_t kMaxDimension = std::int64_t{1} << 20;

class ConfigReader {
 public:
  ConfigReader(const json& config, const std::string& source) : config_(config), source_(source) {}

  bool has(const char* key) const { return config_.contains(key) && !config_.at(key).is_null(); }

  Result<std::int64_t> dimension(const char* key) const {
    if (!has(key)) return Error{ErrorCode::kBadData, fmt::format("{}: key '{}' is missing", source_, key)};
    return checked_dimension(key);
  }
  Result<std::int64_t> dimension_or(const char* key, std::int64_t fallback) const {
    if (!has(key)) return fallback;
    return checked_dimension(key);
  }
  Result<double> number_or(const char* key, double fallback) const {
    if (!has(key)) return fallback;
    const json& value = config_.at(key);
    if (!value.is_number()) return wrong_type(key, "a number");
    const double number = value.get<double>();
    if (!std::isfinite(number)) return wrong_type(key, "a finite number");
    return number;
  }
  Result<bool> boolean_or(const char* key, bool fallback) const {
    if (!has(key)) return fallback;
    if (!config_.at(key).is_boolean()) return wrong_type(key, "true or false");
    return config_.at(key).get<bool>();
  }
  Result<std::string> string_or(const char* key, const std::string& fallback) const {
    if (!has(key)) return fallback;
    if (!config_.at(key).is_string()) return wrong_type(key, "a string");
    return config_.at(key).get<std::string>();
  }
  Error wrong_type(const char* key, const char* expected) const {
    return Error{ErrorCode::kBadData, fmt::format("{}: key '{}': expected {}, got {}", source_, key, expected, short_dump(key))};
  }

 private:
  std::string short_dump(const char* key) const {
    std::string text = config_.at(key).dump(-1, ' ', true, json::error_handler_t::replace);
    if (text.size() > 60) text = text.substr(0, 60) + "...";
    return text;
  }
  Result<std::int64_t> checked_dimension(const char* key) const {
    const json& value = config_.at(key);
    const auto expected = "an integer from 1 to 1048576";
    if (!value.is_number_integer()) return wrong_type(key, expected);
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(kMaxDimension)) return wrong_type(key, expected);
    const auto number = value.get<std::int64_t>();
    if (number < 1 || number > kMaxDimension) return wrong_type(key, expected);
    return number;
  }

  const json& config_;
  const std::string& source_;
};

// Angle per position for each pair, as mx.fast.rope computes it from a base: exp(-i * log(base) / half), product and exponential in fp32.
std::vector<float> default_inverse_frequencies(std::int64_t head_dim, double theta) {
  const std::int64_t half = head_dim / 2;
  const auto step = static_cast<float>(std::log(static_cast<float>(theta)) / static_cast<float>(half));
  std::vector<float> out(static_cast<std::size_t>(half));
  for (std::int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(-i) * step;
    out[static_cast<std::size_t>(i)] = static_cast<float>(std::exp(static_cast<double>(exponent)));
  }
  return out;
}

// Llama 3.1's frequency scaling: long wavelengths are stretched by `factor`, middle ones blended (mlx_lm Llama3RoPE; arXiv 2407.21783).
Result<std::vector<float>> llama3_inverse_frequencies(std::int64_t head_dim, double theta, const json& scaling, const std::string& source) {
  const std::string place = source + ": rope_scaling";
  const ConfigReader reader(scaling, place);
  const double factor = TRY(reader.number_or("factor", 0));
  const double low = TRY(reader.number_or("low_freq_factor", 1.0));
  const double high = TRY(reader.number_or("high_freq_factor", 4.0));
  const double old_length = TRY(reader.number_or("original_max_position_embeddings", 8192));
  if (factor <= 0 || low <= 0 || high <= low || old_length <= 0) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: factor, low_freq_factor < high_freq_factor and original_max_position_embeddings must be positive", place)};
  }
  std::vector<float> out;
  for (std::int64_t i = 0; i < head_dim / 2; ++i) {
    auto freq = static_cast<float>(std::pow(theta, static_cast<double>(2 * i) / static_cast<double>(head_dim)));
    const float wavelength = 2.0F * std::numbers::pi_v<float> * freq;
    const auto low_wavelength = static_cast<float>(old_length / low);
    const auto high_wavelength = static_cast<float>(old_length / high);
    if (wavelength > low_wavelength) {
      freq *= static_cast<float>(factor);
    } else if (wavelength > high_wavelength) {
      const float smooth = (static_cast<float>(old_length) / wavelength - static_cast<float>(low)) / static_cast<float>(high - low);
      freq /= (1.0F - smooth) / static_cast<float>(factor) + smooth;
    }
    out.push_back(1.0F / freq);
  }
  return out;
}

Result<std::vector<float>> inverse_frequencies(const json& config, const ConfigReader& reader, std::int64_t head_dim, double default_theta,
                                               const std::string& source) {
  const double theta = TRY(reader.number_or("rope_theta", default_theta));
  if (theta <= 1.0) return reader.wrong_type("rope_theta", "a number above 1");
  if (!reader.has("rope_scaling")) return default_inverse_frequencies(head_dim, theta);

  const json& scaling = config.at("rope_scaling");
  if (!scaling.is_object()) return reader.wrong_type("rope_scaling", "an object or null");
  const std::string place = source + ": rope_scaling";
  const ConfigReader scaling_reader(scaling, place);
  const std::string fallback = TRY(scaling_reader.string_or("rope_type", "default"));
  const std::string type = TRY(scaling_reader.string_or("type", fallback));
  if (type == "default") return default_inverse_frequencies(head_dim, theta);
  if (type == "llama3") return llama3_inverse_frequencies(head_dim, theta, scaling, source);
  if (type == "linear") {
    const double factor = TRY(scaling_reader.number_or("factor", 0));
    if (factor <= 0) return Error{ErrorCode::kBadData, fmt::format("{}: 'factor' must be a positive number", place)};
    std::vector<float> out = default_inverse_frequencies(head_dim, theta);
    for (float& f : out) f = static_cast<float>(static_cast<double>(f) / factor);
    return out;
  }
  return Error{ErrorCode::kUnsupported, fmt::format("{}: type '{}' is not supported (default, linear and llama3 are)", place, type)};
}

Status check_family_limits(const ConfigReader& reader, const std::string& source) {
  const std::string activation = TRY(reader.string_or("hidden_act", "silu"));
  if (activation != "silu") {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: hidden_act '{}' is not supported (silu is)", source, activation)};
  }
  if (TRY(reader.boolean_or("use_sliding_window", false))) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: use_sliding_window is not supported", source)};
  }
  return {};
}

// Which layers look back over a window only. mlx-lm reads layer_types in its llama (a mistral is one) and nowhere else: there a sliding_window
// without them means nothing, and for other families both mean nothing.
Result<std::vector<std::int64_t>> attention_windows(const json& config, const ConfigReader& reader, const ModelSpec& spec,
                                                    const std::string& source) {
  if (!reader.has("layer_types")) return std::vector<std::int64_t>{};
  const json& types = config.at("layer_types");
  if (!types.is_array() || types.size() != static_cast<std::size_t>(spec.num_layers)) {
    return Error{ErrorCode::kBadData, fmt::format("{}: key 'layer_types': expected a list of num_hidden_layers = {} names, got {}", source,
                                                  spec.num_layers, types.is_array() ? fmt::format("{}", types.size()) : types.type_name())};
  }
  std::vector<std::int64_t> windows;
  bool any = false;
  for (const json& type : types) {
    const bool sliding = type == "sliding_attention";
    if (sliding && spec.model_type != "llama") {
      return Error{ErrorCode::kUnsupported, fmt::format("{}: layer_types has \"sliding_attention\", which is not supported for {} (it is for llama)",
                                                        source, spec.model_type)};
    }
    if (!sliding && type != "full_attention") {
      return Error{ErrorCode::kUnsupported, fmt::format("{}: layer_types has {}; only \"full_attention\" and \"sliding_attention\" are supported",
                                                        source, type.dump(-1, ' ', true, json::error_handler_t::replace))};
    }
    windows.push_back(sliding ? TRY(reader.dimension("sliding_window")) : 0);
    any = any || sliding;
  }
  return any ? windows : std::vector<std::int64_t>{};
}

}  // namespace

Result<ModelSpec> parse_model_spec(const json& config, const std::string& source) {
  if (!config.is_object()) return Error{ErrorCode::kBadData, fmt::format("{}: expected a JSON object", source)};
  const ConfigReader reader(config, source);
  ModelSpec spec;
  spec.model_type = TRY(reader.string_or("model_type", ""));
  const bool llama = spec.model_type == "llama";
  const bool qwen2 = spec.model_type == "qwen2";
  if (!llama && !qwen2) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: model_type '{}' is not supported (llama and qwen2 are)", source,
                                                      spec.model_type.empty() ? "(missing)" : spec.model_type)};
  }
  TRY(check_family_limits(reader, source));

  spec.hidden_size = TRY(reader.dimension("hidden_size"));
  spec.num_layers = TRY(reader.dimension("num_hidden_layers"));
  spec.intermediate_size = TRY(reader.dimension("intermediate_size"));
  spec.num_heads = TRY(reader.dimension("num_attention_heads"));
  spec.num_kv_heads = TRY(reader.dimension_or("num_key_value_heads", spec.num_heads));
  spec.vocab_size = TRY(reader.dimension("vocab_size"));
  if (!(llama && reader.has("head_dim")) && spec.hidden_size % spec.num_heads != 0) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: hidden_size {} is not a multiple of num_attention_heads {}", source, spec.hidden_size, spec.num_heads)};
  }
  const std::int64_t default_head_dim = spec.hidden_size / spec.num_heads;
  spec.head_dim = llama ? TRY(reader.dimension_or("head_dim", default_head_dim)) : default_head_dim;
  if (spec.num_heads % spec.num_kv_heads != 0) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", source, spec.num_heads, spec.num_kv_heads)};
  }
  if (spec.head_dim % 2 != 0 || spec.head_dim > 256) {
    return Error{ErrorCode::kUnsupported, fmt::format("{}: head_dim {} is not supported (even, at most 256)", source, spec.head_dim)};
  }
  spec.rms_norm_eps = static_cast<float>(TRY(reader.number_or("rms_norm_eps", 1e-6)));
  if (!(spec.rms_norm_eps > 0)) return reader.wrong_type("rms_norm_eps", "a positive number");
  spec.rope_traditional = TRY(reader.boolean_or("rope_traditional", false));
  spec.tie_word_embeddings = TRY(reader.boolean_or("tie_word_embeddings", true));
  const bool attention_bias = llama && TRY(reader.boolean_or("attention_bias", false));
  spec.attention_qkv_bias = qwen2 || attention_bias;
  spec.attention_output_bias = attention_bias;
  spec.mlp_bias = llama && TRY(reader.boolean_or("mlp_bias", false));
  spec.attention_windows = TRY(attention_windows(config, reader, spec, source));
  spec.max_position_embeddings = TRY(reader.dimension_or("max_position_embeddings", qwen2 ? 32768 : 2048));
  spec.rope_inverse_frequencies = TRY(inverse_frequencies(config, reader, spec.head_dim, qwen2 ? 1e6 : 1e4, source));
  return spec;
}

}  // namespace evolora
