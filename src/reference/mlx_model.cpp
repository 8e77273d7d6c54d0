// Copies a model into MLX arrays, tensor by tensor, so that mapped and copied pages do not exist twice for long.
#include "reference/mlx_model.h"

#include "base/check.h"

namespace evolora {
namespace {

mx::array as_arithmetic(const mx::array& values, MlxArithmetic arithmetic) {
  return arithmetic == MlxArithmetic::kFp32 ? mx::astype(values, mx::float32) : values;
}

MlxWeight copy_weight(const WeightView& view, MlxArithmetic arithmetic) {
  const mx::Dtype dtype = mlx_dtype(view.dtype);
  if (!view.quantized()) {
    MlxWeight dense{.data = as_arithmetic(mlx_copy(view.data, mlx_shape({view.out, view.in}), dtype), arithmetic),
                    .scales = {},
                    .biases = {},
                    .bits = 0,
                    .group_size = 0,
                    .out = view.out,
                    .in = view.in};
    mx::eval(dense.data);
    release_weight(view);
    return dense;
  }
  const mx::Shape groups = mlx_shape({view.out, view.in / view.group_size});
  MlxWeight weight{.data = mlx_copy(view.data, mlx_shape({view.out, view.in * view.bits / 32}), mx::uint32),
                   .scales = as_arithmetic(mlx_copy(view.scales, groups, dtype), arithmetic),
                   .biases = as_arithmetic(mlx_copy(view.biases, groups, dtype), arithmetic),
                   .bits = view.bits,
                   .group_size = view.group_size,
                   .out = view.out,
                   .in = view.in};
  mx::eval(*weight.scales, *weight.biases);
  release_weight(view);
  return weight;
}

// Norms and biases, which the model keeps as fp32, in the type that their file has.
class VectorCopier {
 public:
  VectorCopier(const ModelWeights& weights, MlxArithmetic arithmetic) : weights_(weights), arithmetic_(arithmetic) {}

  mx::array copy(const float* values, std::int64_t size, const std::string& name) const {
    const mx::array fp32 = mlx_floats(values, mlx_shape({size}));
    if (arithmetic_ == MlxArithmetic::kFp32) return fp32;
    const TensorView* stored = weights_.folder().find(name);
    CHECK(stored != nullptr);
    mx::array out = mx::astype(fp32, mlx_dtype(stored->dtype));
    out.eval();
    return out;
  }

 private:
  const ModelWeights& weights_;
  MlxArithmetic arithmetic_;
};

std::optional<float> plain_rope_base(const nlohmann::json& config) {
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (config.contains(key) && !config[key].is_null()) return std::nullopt;
  }
  constexpr double kDefaultBase = 10000.0;  // mlx-lm's for llama
  const auto theta = config.find("rope_theta");
  if (theta == config.end()) return config.value("model_type", "") == "llama" ? std::optional(static_cast<float>(kDefaultBase)) : std::nullopt;
  if (!theta->is_number()) return std::nullopt;
  return theta->get<float>();
}

}  // namespace

mx::array times_transposed(const mx::array& x, const MlxWeight& weight) {
  if (weight.quantized()) return mx::quantized_matmul(x, weight.data, *weight.scales, weight.biases, true, weight.group_size, weight.bits);
  return mx::matmul(x, mx::transpose(weight.data));
}

mx::array times(const mx::array& dy, const MlxWeight& weight) {
  if (weight.quantized()) return mx::quantized_matmul(dy, weight.data, *weight.scales, weight.biases, false, weight.group_size, weight.bits);
  return mx::matmul(dy, weight.data);
}

mx::array dense_weight(const MlxWeight& weight) {
  if (!weight.quantized()) return weight.data;
  return mx::dequantize(weight.data, *weight.scales, weight.biases, weight.group_size, weight.bits);
}

mx::array embed(const mx::array& tokens, const MlxWeight& table) {
  if (!table.quantized()) return mx::take(table.data, tokens, 0);
  return mx::dequantize(mx::take(table.data, tokens, 0), mx::take(*table.scales, tokens, 0), mx::take(*table.biases, tokens, 0), table.group_size,
                        table.bits);
}

bool same_storage(const MlxWeight& a, const MlxWeight& b) {
  const auto type = [](const MlxWeight& w) { return w.quantized() ? w.scales->dtype() : w.data.dtype(); };
  return a.bits == b.bits && a.group_size == b.group_size && a.in == b.in && type(a) == type(b);
}

MlxWeight concatenated(const std::vector<MlxWeight>& weights) {
  MlxWeight all = weights.front();
  std::vector<mx::array> data;
  std::vector<mx::array> scales;
  std::vector<mx::array> biases;
  all.out = 0;
  for (const MlxWeight& weight : weights) {
    all.out += weight.out;
    data.push_back(weight.data);
    if (!weight.quantized()) continue;
    scales.push_back(*weight.scales);
    biases.push_back(*weight.biases);
  }
  all.data = mx::concatenate(data, 0);
  if (all.quantized()) {
    all.scales = mx::concatenate(scales, 0);
    all.biases = mx::concatenate(biases, 0);
    mx::eval(*all.scales, *all.biases);
  }
  mx::eval(all.data);
  return all;
}

mx::array linear(const mx::array& x, const MlxLinear& layer) {
  if (!layer.bias) return times_transposed(x, layer.weight);
  if (layer.weight.quantized()) return mx::add(times_transposed(x, layer.weight), *layer.bias);
  return mx::addmm(*layer.bias, x, mx::transpose(layer.weight.data));
}

MlxModel make_mlx_model(const ModelWeights& weights, MlxArithmetic arithmetic) {
  const ModelSpec& spec = weights.spec();
  const VectorCopier vectors(weights, arithmetic);
  const MlxWeight embedding = copy_weight(weights.embedding(), arithmetic);
  MlxModel model{.spec = spec,
                 .embedding = embedding,
                 .head = spec.tie_word_embeddings ? embedding : copy_weight(weights.head(), arithmetic),
                 .final_norm = vectors.copy(weights.final_norm(), spec.hidden_size, "model.norm.weight"),
                 .layers = {},
                 .rope_base = plain_rope_base(weights.folder().config()),
                 .rope_frequencies = {}};
  if (!model.rope_base) {
    std::vector<float> wavelengths;
    for (const float frequency : spec.rope_inverse_frequencies) wavelengths.push_back(1.0F / frequency);
    model.rope_frequencies = mlx_floats(wavelengths.data(), mlx_shape({static_cast<std::int64_t>(wavelengths.size())}));
  }
  for (std::int64_t i = 0; i < spec.num_layers; ++i) {
    const LayerWeights& source = weights.layer(i);
    const std::string prefix = "model.layers." + std::to_string(i) + ".";
    MlxLayer layer{.input_norm = vectors.copy(source.input_norm, spec.hidden_size, prefix + "input_layernorm.weight"),
                   .post_attention_norm = vectors.copy(source.post_attention_norm, spec.hidden_size, prefix + "post_attention_layernorm.weight"),
                   .linears = {}};
    for (int p = 0; p < kProjectionCount; ++p) {
      const LinearWeights& from = source.linears[static_cast<std::size_t>(p)];
      MlxLinear to{.weight = copy_weight(from.weight, arithmetic), .bias = {}};
      if (from.bias != nullptr)
        to.bias = vectors.copy(from.bias, from.weight.out, prefix + projection_path(static_cast<Projection>(p)) + std::string(".bias"));
      layer.linears.push_back(std::move(to));
    }
    model.layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace evolora
