// Binds the tensors of a model folder to the spec: shapes and dtypes checked once, views kept in place.
#include "model/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>

#include "base/check.h"
#include "formats/quantization.h"

namespace evolora {

const char* projection_path(Projection projection) {
  static constexpr const char* kPaths[kProjectionCount] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
                                                           "mlp.gate_proj",    "mlp.up_proj",      "mlp.down_proj"};
  return kPaths[static_cast<std::size_t>(projection)];
}

class WeightLoader {
 public:
  explicit WeightLoader(ModelWeights& model) : model_(model), config_path_((model.folder_.path() / "config.json").string()) {}

  Status load() {
    model_.spec_ = TRY(parse_model_spec(model_.folder_.config(), config_path_));
    const ModelSpec& spec = model_.spec_;
    model_.embedding_ = TRY(weight("model.embed_tokens", spec.vocab_size, spec.hidden_size));
    // An untied model must bring its own head; a tied one may carry a copy, which mlx-lm drops too.
    model_.head_ = spec.tie_word_embeddings ? model_.embedding_ : TRY(weight("lm_head", spec.vocab_size, spec.hidden_size));
    model_.final_norm_ = TRY(vector("model.norm.weight", spec.hidden_size));
    model_.layers_.resize(static_cast<std::size_t>(spec.num_layers));
    for (std::int64_t i = 0; i < spec.num_layers; ++i) TRY(load_layer(i));
    return {};
  }

 private:
  Status load_layer(std::int64_t index) {
    const ModelSpec& spec = model_.spec_;
    LayerWeights& layer = model_.layers_[static_cast<std::size_t>(index)];
    const std::string prefix = fmt::format("model.layers.{}.", index);
    layer.input_norm = TRY(vector(prefix + "input_layernorm.weight", spec.hidden_size));
    layer.post_attention_norm = TRY(vector(prefix + "post_attention_layernorm.weight", spec.hidden_size));
    const std::int64_t d = spec.hidden_size;
    const std::int64_t q = spec.query_width();
    const std::int64_t kv = spec.kv_width();
    const std::int64_t inner = spec.intermediate_size;
    struct Shape {
      Projection projection;
      std::int64_t out;
      std::int64_t in;
      bool bias;
    };
    const Shape shapes[] = {{Projection::kQ, q, d, spec.attention_qkv_bias},  {Projection::kK, kv, d, spec.attention_qkv_bias},
                            {Projection::kV, kv, d, spec.attention_qkv_bias}, {Projection::kO, d, q, spec.attention_output_bias},
                            {Projection::kGate, inner, d, spec.mlp_bias},     {Projection::kUp, inner, d, spec.mlp_bias},
                            {Projection::kDown, d, inner, spec.mlp_bias}};
    for (const Shape& shape : shapes) {
      const std::string module = prefix + projection_path(shape.projection);
      LinearWeights& linear = layer.linears[static_cast<std::size_t>(shape.projection)];
      linear.weight = TRY(weight(module, shape.out, shape.in));
      if (shape.bias) linear.bias = TRY(vector(module + ".bias", shape.out));
    }
    return {};
  }

  Result<TensorView> tensor(const std::string& name) {
    const TensorView* view = model_.folder_.find(name);
    if (view == nullptr) {
      return Error{ErrorCode::kBadData, fmt::format("{}: tensor '{}' is missing from the model's safetensors", model_.folder_.path().string(), name)};
    }
    model_.stored_bytes_ += view->bytes.size();
    return *view;
  }

  Status expect_shape(const TensorView& view, std::vector<std::int64_t> expected) {
    if (view.shape == expected) return {};
    return Error{ErrorCode::kBadData, fmt::format("{}: tensor '{}': expected shape [{}], got [{}]", model_.folder_.path().string(), view.name,
                                                  fmt::join(expected, ", "), fmt::join(view.shape, ", "))};
  }

  Status expect_float(const TensorView& view) {
    if (dtype_is_float(view.dtype)) return {};
    return Error{ErrorCode::kBadData, fmt::format("{}: tensor '{}': expected F32, F16 or BF16, got {}", model_.folder_.path().string(), view.name,
                                                  dtype_name(view.dtype))};
  }

  Result<const float*> vector(const std::string& name, std::int64_t size) {
    const TensorView view = TRY(tensor(name));
    TRY(expect_shape(view, {size}));
    TRY(expect_float(view));
    std::vector<float> values(static_cast<std::size_t>(size));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = load_float(view.dtype, view.bytes.data(), i);
    model_.owned_vectors_.push_back(std::move(values));
    return static_cast<const float*>(model_.owned_vectors_.back().data());
  }

  Result<WeightView> weight(const std::string& module, std::int64_t out, std::int64_t in) {
    const TensorView view = TRY(tensor(module + ".weight"));
    WeightView weight{.out = out, .in = in};
    const auto quantization = model_.folder_.quantization_of(module);
    if (!quantization) {
      TRY(expect_float(view));
      TRY(expect_shape(view, {out, in}));
      weight.dtype = view.dtype;
      weight.data = view.bytes.data();
      return weight;
    }
    if (in % quantization->group_size != 0) {
      return Error{ErrorCode::kBadData, fmt::format("{}: module '{}' has {} inputs, not a multiple of its quantization group {}", config_path_,
                                                    module, in, quantization->group_size)};
    }
    if (view.dtype != DType::kU32) {
      return Error{ErrorCode::kBadData, fmt::format("{}: tensor '{}': a quantized weight must be U32, got {}", model_.folder_.path().string(),
                                                    view.name, dtype_name(view.dtype))};
    }
    TRY(expect_shape(view, {out, static_cast<std::int64_t>(packed_words_per_row(*quantization, in))}));
    const TensorView scales = TRY(tensor(module + ".scales"));
    const TensorView biases = TRY(tensor(module + ".biases"));
    for (const TensorView* part : {&scales, &biases}) {
      TRY(expect_float(*part));
      TRY(expect_shape(*part, {out, in / quantization->group_size}));
    }
    if (scales.dtype != biases.dtype) {
      return Error{ErrorCode::kBadData, fmt::format("{}: module '{}': scales are {} but biases are {}", model_.folder_.path().string(), module,
                                                    dtype_name(scales.dtype), dtype_name(biases.dtype))};
    }
    weight.bits = quantization->bits;
    weight.group_size = quantization->group_size;
    weight.dtype = scales.dtype;
    weight.data = view.bytes.data();
    weight.scales = scales.bytes.data();
    weight.biases = biases.bytes.data();
    return weight;
  }

  ModelWeights& model_;
  std::string config_path_;
};

namespace {

struct WeightBytes {
  std::size_t data;
  std::size_t scales;  // and biases: as many again
};

WeightBytes bytes_of(const WeightView& weight) {
  const auto out = static_cast<std::size_t>(weight.out);
  const auto in = static_cast<std::size_t>(weight.in);
  const std::size_t element = dtype_size_bytes(weight.dtype);
  if (!weight.quantized()) return {out * in * element, 0};
  return {out * in * static_cast<std::size_t>(weight.bits) / 8, out * (in / static_cast<std::size_t>(weight.group_size)) * element};
}

}  // namespace

std::vector<float> row_norms(const WeightView& weight) {
  const auto in = static_cast<std::size_t>(weight.in);
  const std::size_t row_bytes = bytes_of(weight).data / static_cast<std::size_t>(weight.out);
  const std::size_t group_bytes = bytes_of(weight).scales / static_cast<std::size_t>(weight.out);
  // Aligned copies: the codec reads words, and mapped tensors begin anywhere.
  std::vector<std::uint32_t> packed(weight.quantized() ? row_bytes / sizeof(std::uint32_t) : 0);
  std::vector<std::uint32_t> scales(group_bytes / sizeof(std::uint32_t) + 1);
  std::vector<std::uint32_t> biases(scales.size());
  std::vector<std::uint32_t> dense(in);  // large enough for any float type
  std::vector<float> norms;
  for (std::size_t row = 0; row < static_cast<std::size_t>(weight.out); ++row) {
    const std::byte* values = weight.data + row * row_bytes;
    if (weight.quantized()) {
      std::memcpy(packed.data(), values, row_bytes);
      std::memcpy(scales.data(), weight.scales + row * group_bytes, group_bytes);
      std::memcpy(biases.data(), weight.biases + row * group_bytes, group_bytes);
      affine_dequantize({weight.bits, weight.group_size}, weight.dtype, packed.data(), scales.data(), biases.data(), 1, weight.in, dense.data());
      values = reinterpret_cast<const std::byte*>(dense.data());
    }
    double sum = 0;
    for (std::size_t i = 0; i < in; ++i) {
      const auto value = static_cast<double>(load_float(weight.dtype, values, i));
      sum += value * value;
    }
    norms.push_back(static_cast<float>(std::sqrt(sum)));
  }
  return norms;
}

std::size_t stored_bytes_of(const WeightView& weight) {
  const WeightBytes bytes = bytes_of(weight);
  return bytes.data + 2 * bytes.scales;
}

void release_weight(const WeightView& weight) {
  const WeightBytes bytes = bytes_of(weight);
  release_mapped_pages({weight.data, bytes.data});
  if (!weight.quantized()) return;
  release_mapped_pages({weight.scales, bytes.scales});
  release_mapped_pages({weight.biases, bytes.scales});
}

std::size_t ModelWeights::largest_linear_bytes() const {
  std::size_t largest = 0;
  for (const LayerWeights& layer : layers_) {
    for (const LinearWeights& linear : layer.linears) largest = std::max(largest, stored_bytes_of(linear.weight));
  }
  return largest;
}

Result<ModelWeights> ModelWeights::load(MlxFolder folder) {
  ModelWeights model(std::move(folder));
  TRY(WeightLoader(model).load());
  return model;
}

}  // namespace evolora
