// Both directions of the quantization block, and the refusal of other projects' ones.
#include "formats/quantization_config.h"

#include "formats/json_text.h"

namespace evolora {
namespace {

using SortedJson = nlohmann::json;

Result<int> integer_of(const SortedJson& object, const char* key, int if_missing, const std::string& where) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return if_missing;
  if (!it->is_number_unsigned() || it->get<std::uint64_t>() > 1'000'000) {
    return Error{ErrorCode::kBadData, where + ": key '" + key + "': expected a positive integer, got " + json_excerpt(*it)};
  }
  return static_cast<int>(it->get<std::uint64_t>());
}

// mlx's own defaults are group size 64 and 4 bits.
Result<AffineQuantization> parse_affine(const SortedJson& object, const std::string& where) {
  const auto mode = object.find("mode");
  if (mode != object.end() && (!mode->is_string() || mode->get<std::string>() != "affine")) {
    return Error{ErrorCode::kUnsupported, where + ": quantization mode " + json_excerpt(*mode) + " is not supported; supported: \"affine\""};
  }
  AffineQuantization q;
  q.bits = TRY(integer_of(object, "bits", 4, where));
  q.group_size = TRY(integer_of(object, "group_size", 64, where));
  if (const Status ok = check_affine_quantization(q); !ok.ok()) return Error{ok.error().code, where + ": " + ok.error().message};
  return q;
}

Error foreign(const std::string& where, const std::string& method) {
  return Error{ErrorCode::kUnsupported, where + ": quantization method '" + method +
                                            "' is not supported; supported: MLX affine quantization, or "
                                            "convert from the dense model"};
}

// "quantization", else "quantization_config", else that of "text_config"; null counts as absent.
const SortedJson* find_block(const SortedJson& config) {
  const auto get = [](const SortedJson& object, const char* key) -> const SortedJson* {
    const auto it = object.find(key);
    return it == object.end() || it->is_null() ? nullptr : &*it;
  };
  if (const SortedJson* block = get(config, "quantization")) return block;
  if (const SortedJson* block = get(config, "quantization_config")) return block;
  const SortedJson* text = get(config, "text_config");
  return text != nullptr && text->is_object() ? get(*text, "quantization_config") : nullptr;
}

}  // namespace

Result<QuantizationConfig> parse_quantization_config(const SortedJson& config, const std::string& where) {
  QuantizationConfig result;
  const SortedJson* block = find_block(config);
  if (block == nullptr) return result;
  if (!block->is_object()) return Error{ErrorCode::kBadData, where + ": key 'quantization': expected an object, got " + block->type_name()};
  if (const auto method = block->find("quant_method"); method != block->end()) {
    return foreign(where, method->is_string() ? method->get<std::string>() : json_excerpt(*method));
  }
  result.default_quantization = TRY(parse_affine(*block, where));
  for (const auto& [path, entry] : block->items()) {
    if (entry.is_object()) {
      result.modules[path] = TRY(parse_affine(entry, where + ": module '" + path + "'"));
    } else if (entry.is_boolean()) {
      result.modules[path] = entry.get<bool>() ? result.default_quantization : std::nullopt;
    }
    // Other values are settings of other programs (mlx-lm ignores them as well).
  }
  return result;
}

nlohmann::ordered_json quantization_block(const QuantizationConfig& quantization) {
  nlohmann::ordered_json block = {
      {"group_size", quantization.default_quantization->group_size}, {"bits", quantization.default_quantization->bits}, {"mode", "affine"}};
  for (const auto& [path, q] : quantization.modules) {
    if (!q) {
      block[path] = false;
    } else if (*q != *quantization.default_quantization) {
      block[path] = {{"group_size", q->group_size}, {"bits", q->bits}, {"mode", "affine"}};
    }
  }
  return block;
}

}  // namespace evolora
