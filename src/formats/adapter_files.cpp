// adapter_config.json and adapters.safetensors as mlx-lm has them.
#include "formats/adapter_files.h"

#include <cmath>

#include "formats/json_text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// Looks keys up in one object of the file and words what is wrong with them.
class KeyReader {
 public:
  KeyReader(const Json& object, std::string where) : object_(object), where_(std::move(where)) {}

  Result<const Json*> required(const char* key) const {
    const auto it = object_.find(key);
    if (it == object_.end()) return Error{ErrorCode::kBadData, where_ + ": key '" + key + "' is missing"};
    return &*it;
  }

  Result<int> integer(const char* key) const {
    const Json& value = *TRY(required(key));
    constexpr std::int64_t kLimit = 1'000'000;  // far above any rank or layer count, far below overflow in products
    const bool in_range =
        value.is_number_unsigned() ? value.get<std::uint64_t>() <= kLimit : value.is_number_integer() && value.get<std::int64_t>() >= -kLimit;
    if (!in_range) return wrong_type(key, "an integer", value);
    return static_cast<int>(value.get<std::int64_t>());
  }

  Result<float> number(const char* key) const {
    const Json& value = *TRY(required(key));
    if (!value.is_number() || !std::isfinite(value.get<float>())) return wrong_type(key, "a number", value);
    return value.get<float>();
  }

  Error wrong_type(const char* key, const char* expected, const Json& got) const {
    return Error{ErrorCode::kBadData, where_ + ": key '" + key + "': expected " + expected + ", got " + json_excerpt(got)};
  }

 private:
  const Json& object_;
  std::string where_;
};

Result<std::vector<std::string>> read_keys(const KeyReader& reader, const Json& value) {
  std::vector<std::string> keys;
  if (!value.is_array()) return reader.wrong_type("keys", "a list of module paths", value);
  for (const Json& key : value) {
    if (!key.is_string()) return reader.wrong_type("keys", "a list of module paths", value);
    keys.push_back(key.get<std::string>());
  }
  return keys;
}

}  // namespace

Result<AdapterFileConfig> read_adapter_config(FileSystem& files, const fs::path& folder) {
  const fs::path path = folder / "adapter_config.json";
  if (!files.exists(path)) {
    return Error{ErrorCode::kNotFound, path.string() + ": not found; expected an adapter folder with adapter_config.json and adapters.safetensors"};
  }
  const Json json = TRY(read_json_object(files, path));
  const KeyReader top(json, path.string());
  AdapterFileConfig config;
  if (const auto type = json.find("fine_tune_type"); type != json.end()) {
    if (!type->is_string()) return top.wrong_type("fine_tune_type", "a string", *type);
    config.fine_tune_type = type->get<std::string>();
  }
  if (config.fine_tune_type != "lora") {
    return Error{ErrorCode::kUnsupported, path.string() + ": fine_tune_type '" + config.fine_tune_type + "' is not supported; supported: lora"};
  }
  config.num_layers = TRY(top.integer("num_layers"));
  const Json& parameters = *TRY(top.required("lora_parameters"));
  if (!parameters.is_object()) return top.wrong_type("lora_parameters", "an object", parameters);
  const KeyReader lora(parameters, path.string() + ": lora_parameters");
  config.rank = TRY(lora.integer("rank"));
  if (config.rank < 1) return lora.wrong_type("rank", "a positive integer", parameters["rank"]);
  config.scale = TRY(lora.number("scale"));
  config.dropout = TRY(lora.number("dropout"));
  if (config.dropout < 0.0F || config.dropout >= 1.0F) return lora.wrong_type("dropout", "a number in [0, 1)", parameters["dropout"]);
  if (const auto keys = parameters.find("keys"); keys != parameters.end() && !keys->is_null()) config.keys = TRY(read_keys(lora, *keys));
  return config;
}

Status write_adapter_config(FileSystem& files, const fs::path& folder, const Json& config) {
  return write_file_atomically(files, folder / "adapter_config.json", python_json(with_sorted_keys(config)));
}

Result<SafetensorsFile> read_adapter_weights(FileSystem& files, const fs::path& folder) {
  return SafetensorsFile::open(files, folder / "adapters.safetensors");
}

}  // namespace evolora
