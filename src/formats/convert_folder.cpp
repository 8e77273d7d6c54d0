// Dense matrices stay or are quantized; quantized modules stay, are expanded or are quantized anew; everything that belongs to the text is copied.
#include "formats/convert_folder.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "formats/json_text.h"
#include "formats/mlx_folder.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;
using SharedFolder = std::shared_ptr<const MlxFolder>;

RowSource dense_rows(const SharedFolder& folder, const TensorView& tensor) {
  const auto read_row = [folder, tensor](std::int64_t row, float* out) {  // folder keeps the bytes mapped
    const auto count = static_cast<std::size_t>(tensor.shape.back());
    for (std::size_t i = 0; i < count; ++i) out[i] = load_float(tensor.dtype, tensor.bytes.data(), static_cast<std::size_t>(row) * count + i);
  };
  return {tensor.name, tensor.shape, read_row};
}

struct PackedModule {
  AffineQuantization quantization;
  const TensorView* weight;
  const TensorView* scales;
  const TensorView* biases;
};

// The values as mlx.core.dequantize gives them, in the dtype of the scales.
RowSource dequantized_rows(const SharedFolder& folder, const PackedModule& module) {
  const std::int64_t in_features = module.scales->shape.back() * module.quantization.group_size;
  const auto read_row = [folder, module, in_features](std::int64_t row, float* out) {
    const auto r = static_cast<std::size_t>(row);
    const DType dtype = module.scales->dtype;
    std::vector<std::uint32_t> packed(packed_words_per_row(module.quantization, in_features));  // an aligned copy: files promise no alignment
    std::memcpy(packed.data(), module.weight->bytes.data() + r * packed.size() * 4, packed.size() * 4);
    const std::size_t group_bytes = static_cast<std::size_t>(module.scales->shape.back()) * dtype_size_bytes(dtype);
    std::vector<std::byte> values(static_cast<std::size_t>(in_features) * dtype_size_bytes(dtype));
    affine_dequantize(module.quantization, dtype, packed.data(), module.scales->bytes.data() + r * group_bytes,
                      module.biases->bytes.data() + r * group_bytes, 1, in_features, values.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(in_features); ++i) out[i] = load_float(dtype, values.data(), i);
  };
  return {module.weight->name, {module.weight->shape[0], in_features}, read_row};
}

ModulePlan plan_kept(const SharedFolder& folder, const std::string& path, const PackedModule& module, DType dtype) {
  ModulePlan plan;
  const std::int64_t in_features = module.scales->shape.back() * module.quantization.group_size;
  plan.tensors = packed_tensors(path, module.quantization, dtype, module.weight->shape[0], in_features);
  plan.produce = [folder, module, dtype]() -> Result<ProducedTensors> {
    ProducedTensors out;
    out.lossless = true;
    out.bytes.emplace_back(module.weight->bytes.begin(), module.weight->bytes.end());
    for (const TensorView* tensor : {module.scales, module.biases}) {
      std::vector<float> values(static_cast<std::size_t>(tensor->element_count()));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_float(tensor->dtype, tensor->bytes.data(), i);
      std::optional<std::vector<std::byte>> encoded = encode_floats(values, dtype, &out.lossless);
      if (!encoded) return Error{ErrorCode::kBadData, "tensor '" + tensor->name + "': a value does not fit " + std::string(dtype_name(dtype))};
      out.bytes.push_back(std::move(*encoded));
    }
    return out;
  };
  return plan;
}

class FolderPlanner {
 public:
  FolderPlanner(SharedFolder folder, const ConvertRequest& request)
      : folder_(std::move(folder)), request_(request), where_(request.source.string()) {}

  Result<ConversionPlan> plan(Json config) {
    plan_.config = std::move(config);
    TRY(check_architecture());
    settle_head();
    for (const std::string& name : folder_->tensor_names()) TRY(add(name));
    for (const char* key : {"quantization", "quantization_config", "_name_or_path"}) plan_.config.erase(key);
    if (request_.dtype) {
      const char* name = *request_.dtype == DType::kF32 ? "float32" : *request_.dtype == DType::kBF16 ? "bfloat16" : "float16";
      if (plan_.config.contains("dtype")) plan_.config["dtype"] = name;
      plan_.config["torch_dtype"] = name;
    }
    return std::move(plan_);
  }

 private:
  // Which matrices may be quantized is a property of the architecture (routers must not, for example).
  Status check_architecture() const {
    const auto type = plan_.config.find("model_type");
    const std::string name = type != plan_.config.end() && type->is_string() ? type->get<std::string>() : "";
    if (name == "llama" || name == "qwen2" || name == "mistral") return {};
    return Error{ErrorCode::kUnsupported,
                 (request_.source / "config.json").string() + ": model_type '" + name + "' is not supported; supported: llama, mistral, qwen2"};
  }

  // A missing key means tied to mlx-lm and untied to others: the output says it.
  void settle_head() {
    const bool has_head = folder_->find("lm_head.weight") != nullptr;
    const auto tied = plan_.config.find("tie_word_embeddings");
    tied_ = tied != plan_.config.end() && tied->is_boolean() ? tied->get<bool>() : !has_head;
    plan_.config["tie_word_embeddings"] = tied_;
  }

  bool is_dropped(const std::string& name) const { return (tied_ && name.starts_with("lm_head.")) || name.ends_with("rotary_emb.inv_freq"); }

  Status add(const std::string& name) {
    if (is_dropped(name)) return {};
    const TensorView& tensor = *folder_->find(name);
    const std::string module = name.substr(0, name.rfind('.') == std::string::npos ? name.size() : name.rfind('.'));
    if (const std::optional<AffineQuantization> q = folder_->quantization_of(module); q && folder_->find(module + ".scales") != nullptr) {
      if (name == module + ".scales" || name == module + ".biases") return {};  // go with the weight
      if (name == module + ".weight") return add_packed(module, {*q, &tensor, folder_->find(module + ".scales"), folder_->find(module + ".biases")});
    }
    return add_dense(module, tensor);
  }

  Status add_packed(const std::string& module, const PackedModule& packed) {
    if (packed.weight->shape.size() != 2) {
      return Error{ErrorCode::kUnsupported, where_ + ": tensor '" + packed.weight->name + "': quantized tensors of rank " +
                                                std::to_string(packed.weight->shape.size()) + " are not supported; expected 2"};
    }
    const DType dtype = request_.dtype.value_or(packed.scales->dtype);
    const std::int64_t in_features = packed.scales->shape.back() * packed.quantization.group_size;
    if (!request_.dequantize && (!request_.quantization || *request_.quantization == packed.quantization)) {
      plan_.modules.push_back(plan_kept(folder_, module, packed, dtype));
      plan_.quantization.modules[module] = packed.quantization;
    } else if (request_.dequantize || in_features % request_.quantization->group_size != 0) {
      plan_.modules.push_back(plan_dense(packed.weight->name, dequantized_rows(folder_, packed), dtype));
    } else {
      plan_.modules.push_back(plan_quantized(module, dequantized_rows(folder_, packed), *request_.quantization, dtype));
      plan_.quantization.modules[module] = request_.quantization;
    }
    return {};
  }

  Status add_dense(const std::string& module, const TensorView& tensor) {
    const std::size_t rank = tensor.shape.size();
    if (!dtype_is_float(tensor.dtype) || rank < 1 || rank > 2) {
      return Error{ErrorCode::kUnsupported, where_ + ": tensor '" + tensor.name + "' (" + std::string(dtype_name(tensor.dtype)) + ", rank " +
                                                std::to_string(rank) + ") is not supported; expected F32, F16 or BF16 of rank 1 or 2"};
    }
    const DType dtype = request_.dtype.value_or(tensor.dtype);
    const bool quantize =
        request_.quantization && rank == 2 && tensor.name == module + ".weight" && tensor.shape[1] % request_.quantization->group_size == 0;
    if (!quantize) {
      plan_.modules.push_back(plan_dense(tensor.name, dense_rows(folder_, tensor), dtype));
      return {};
    }
    plan_.modules.push_back(plan_quantized(module, dense_rows(folder_, tensor), *request_.quantization, dtype));
    plan_.quantization.modules[module] = request_.quantization;
    return {};
  }

  SharedFolder folder_;
  const ConvertRequest& request_;
  std::string where_;
  ConversionPlan plan_;
  bool tied_ = true;
};

bool is_text_file(const std::string& name) {
  static const std::string kNames[] = {
      "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",      "vocab.json",
      "merges.txt",     "chat_template.jinja",   "chat_template.json",      "generation_config.json", "tokenizer.model"};
  return std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

Result<std::vector<SmallFile>> read_text_files(FileSystem& files, const fs::path& folder) {
  std::vector<SmallFile> out;
  for (const std::string& name : TRY(files.list(folder))) {
    if (is_text_file(name) && !files.is_directory(folder / name)) out.push_back({name, TRY(files.read(folder / name))});
  }
  const std::string templates = "additional_chat_templates";
  if (!files.is_directory(folder / templates)) return out;
  for (const std::string& name : TRY(files.list(folder / templates))) {
    if (name.ends_with(".jinja")) out.push_back({templates + "/" + name, TRY(files.read(folder / templates / name))});
  }
  return out;
}

}  // namespace

Result<ConversionPlan> plan_folder_conversion(FileSystem& files, const ConvertRequest& request) {
  const auto folder = std::make_shared<const MlxFolder>(TRY(MlxFolder::open(files, request.source)));
  nlohmann::ordered_json config = TRY(read_json_object(files, request.source / "config.json"));
  ConversionPlan plan = TRY(FolderPlanner(folder, request).plan(std::move(config)));
  plan.files = TRY(read_text_files(files, request.source));
  return plan;
}

}  // namespace evolora
