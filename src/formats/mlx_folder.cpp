// Opens a model folder: configuration, shards, quantization blocks, and their agreement with the stored tensors.
#include "formats/mlx_folder.h"

#include <set>

#include "formats/json_text.h"
#include "formats/quantization_config.h"

namespace evolora {
namespace {

using SortedJson = nlohmann::json;

Result<SortedJson> read_config(FileSystem& files, const fs::path& folder) {
  if (!files.is_directory(folder)) return Error{ErrorCode::kNotFound, folder.string() + ": no such folder; expected an MLX model folder"};
  const fs::path path = folder / "config.json";
  if (!files.exists(path)) return Error{ErrorCode::kNotFound, path.string() + ": not found; expected an MLX model folder (see 'evolora convert')"};
  return SortedJson(TRY(read_json_object(files, path)));
}

bool is_weight_file(const std::string& name) { return name.starts_with("model") && name.ends_with(".safetensors"); }

// The shards that an index names must be among the files. The names are only compared, never opened as paths.
Status check_index(FileSystem& files, const fs::path& folder, const std::set<std::string>& present) {
  const fs::path path = folder / "model.safetensors.index.json";
  if (!files.exists(path)) return {};
  const nlohmann::ordered_json index = TRY(read_json_object(files, path));
  const auto bad = [&](const char* what) { return Error{ErrorCode::kBadData, path.string() + ": " + what}; };
  const auto map = index.find("weight_map");
  if (map == index.end() || !map->is_object()) return bad("expected an object 'weight_map'");
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) return bad("expected file names as values of 'weight_map'");
    const auto& name = shard.get_ref<const std::string&>();
    if (!present.contains(name)) {
      return Error{ErrorCode::kNotFound, (folder / fs::path(name).filename()).string() + ": this shard is missing; " + path.string() +
                                             " names it for tensor '" + tensor + "'"};
    }
  }
  return {};
}

std::string shape_text(const TensorView& tensor) {
  std::string out = std::string(dtype_name(tensor.dtype)) + " (";
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(tensor.shape[i]);
  return out + ")";
}

// weight U32 (..., words), scales and biases of one float dtype (..., groups), words * 32 = bits * group_size * groups.
Status check_quantized_module(const std::string& where, const std::string& module, const AffineQuantization& q, const TensorView* weight,
                              const TensorView& scales, const TensorView* biases) {
  const auto bad = [&](const std::string& what) { return Error{ErrorCode::kBadData, where + ": module '" + module + "': " + what}; };
  if (weight == nullptr) return bad("has scales but no weight");
  if (biases == nullptr) return bad("has scales but no biases");
  if (weight->dtype != DType::kU32) return bad("expected a packed U32 weight, got " + shape_text(*weight));
  if (!dtype_is_float(scales.dtype)) return bad("expected float scales, got " + shape_text(scales));
  if (biases->dtype != scales.dtype || biases->shape != scales.shape) {
    return bad("expected biases like scales " + shape_text(scales) + ", got " + shape_text(*biases));
  }
  const auto leading_agree = [&] {
    return weight->shape.size() == scales.shape.size() && weight->shape.size() >= 2 &&
           std::equal(weight->shape.begin(), weight->shape.end() - 1, scales.shape.begin());
  };
  // Both last dimensions are bounded by a file's size, so these products fit.
  if (!leading_agree() || weight->shape.back() * 32 != scales.shape.back() * q.group_size * q.bits) {
    return bad("weight " + shape_text(*weight) + " and scales " + shape_text(scales) + " do not fit " + std::to_string(q.bits) +
               " bits and group size " + std::to_string(q.group_size));
  }
  return {};
}

}  // namespace

Result<MlxFolder> MlxFolder::open(FileSystem& files, const fs::path& folder) {
  MlxFolder result;
  result.path_ = folder;
  result.config_ = TRY(read_config(files, folder));

  std::set<std::string> present;
  for (const std::string& name : TRY(files.list(folder))) {
    if (is_weight_file(name)) present.insert(name);
  }
  TRY(check_index(files, folder, present));
  if (present.empty()) return Error{ErrorCode::kNotFound, folder.string() + ": no model*.safetensors file; expected the weights of the model here"};
  for (const std::string& name : present) {
    const std::size_t shard = result.shards_.size();
    result.shards_.push_back(TRY(SafetensorsFile::open(files, folder / name)));
    const std::vector<TensorView>& tensors = result.shards_.back().tensors();
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      if (!result.index_.try_emplace(tensors[i].name, shard, i).second) {
        return Error{ErrorCode::kBadData, (folder / name).string() + ": tensor '" + tensors[i].name + "' is already in another shard"};
      }
    }
  }

  const std::string where = (folder / "config.json").string();
  if (files.exists(folder / "hf_quant_config.json")) {
    return Error{ErrorCode::kUnsupported, (folder / "hf_quant_config.json").string() +
                                              ": quantization method 'modelopt' is not supported; supported: "
                                              "MLX affine quantization"};
  }
  QuantizationConfig quantization = TRY(parse_quantization_config(result.config_, where));
  result.default_quantization_ = quantization.default_quantization;
  result.module_quantization_ = std::move(quantization.modules);

  constexpr std::string_view kSuffix = ".scales";
  for (const auto& [name, place] : result.index_) {
    if (!name.ends_with(kSuffix)) continue;
    const std::string module = name.substr(0, name.size() - kSuffix.size());
    const std::optional<AffineQuantization> q = result.quantization_of(module);
    if (!q)
      return Error{ErrorCode::kBadData, where + ": tensor '" + name + "' exists, but 'quantization' does not say how '" + module + "' is quantized"};
    TRY(check_quantized_module(where, module, *q, result.find(module + ".weight"), *result.find(name), result.find(module + ".biases")));
  }
  for (const auto& [module, q] : result.module_quantization_) {
    if (q && result.find(module + ".weight") != nullptr && result.find(module + ".scales") == nullptr) {
      return Error{ErrorCode::kBadData, where + ": 'quantization' lists module '" + module + "', but there is no tensor '" + module + ".scales'"};
    }
  }
  return result;
}

const TensorView* MlxFolder::find(std::string_view name) const {
  const auto it = index_.find(name);
  return it == index_.end() ? nullptr : &shards_[it->second.first].tensors()[it->second.second];
}

std::vector<std::string> MlxFolder::tensor_names() const {
  std::vector<std::string> names;
  names.reserve(index_.size());
  for (const auto& [name, place] : index_) names.push_back(name);
  return names;
}

std::optional<AffineQuantization> MlxFolder::quantization_of(std::string_view module) const {
  if (const auto it = module_quantization_.find(module); it != module_quantization_.end()) return it->second;
  return index_.contains(std::string(module) + ".scales") ? default_quantization_ : std::nullopt;
}

}  // namespace evolora
