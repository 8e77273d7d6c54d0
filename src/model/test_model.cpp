// The random model of the tests.
#include "model/test_model.h"

#include <fmt/format.h>

#include <cmath>
#include <deque>

#include "base/check.h"
#include "base/philox.h"
#include "formats/safetensors.h"

namespace evolora {
namespace {

class ModelWriter {
 public:
  explicit ModelWriter(const TestModel& model) : model_(model), seed_(model.seed * 1000) {}

  void linear(const std::string& module, std::int64_t out, std::int64_t in, bool bias) {
    // Unit-variance activations keep unit variance, so that no gradient is lost in rounding.
    std::vector<float> values = test_values(static_cast<std::size_t>(out * in), ++seed_);
    for (float& v : values) v *= std::sqrt(3.0F / static_cast<float>(in));
    if (bias) vector(module + ".bias", out, 0.0F);
    if (!model_.quantization) {
      add(module + ".weight", {out, in}, values);
      return;
    }
    const std::vector<std::byte> stored = to_dtype(values);
    const AffineQuantization& q = *model_.quantization;
    const std::int64_t groups = in / q.group_size;
    const auto words = static_cast<std::int64_t>(packed_words_per_row(q, in));
    std::vector<std::byte>& packed = own(static_cast<std::size_t>(out * words) * 4);
    const std::size_t part_bytes = static_cast<std::size_t>(out * groups) * dtype_size_bytes(model_.dtype);
    std::vector<std::byte>& scales = own(part_bytes);
    std::vector<std::byte>& biases = own(part_bytes);
    affine_quantize(q, model_.dtype, stored.data(), out, in, reinterpret_cast<std::uint32_t*>(packed.data()), scales.data(), biases.data());
    tensors_.push_back({module + ".weight", DType::kU32, {out, words}, packed});
    tensors_.push_back({module + ".scales", model_.dtype, {out, groups}, scales});
    tensors_.push_back({module + ".biases", model_.dtype, {out, groups}, biases});
  }

  void vector(const std::string& name, std::int64_t size, float centre) {
    std::vector<float> values = test_values(static_cast<std::size_t>(size), ++seed_);
    for (float& v : values) v = centre + 0.3F * v;
    add(name, {size}, values);
  }

  const std::vector<TensorView>& tensors() const { return tensors_; }

 private:
  std::vector<std::byte> to_dtype(const std::vector<float>& values) const {
    std::vector<std::byte> bytes(values.size() * dtype_size_bytes(model_.dtype));
    for (std::size_t i = 0; i < values.size(); ++i) store_float(model_.dtype, bytes.data(), i, values[i]);
    return bytes;
  }
  std::vector<std::byte>& own(std::size_t bytes) { return storage_.emplace_back(bytes); }
  void add(const std::string& name, std::vector<std::int64_t> shape, const std::vector<float>& values) {
    tensors_.push_back({name, model_.dtype, std::move(shape), storage_.emplace_back(to_dtype(values))});
  }

  const TestModel& model_;
  std::uint64_t seed_;
  std::deque<std::vector<std::byte>> storage_;
  std::vector<TensorView> tensors_;
};

}  // namespace

std::vector<float> test_values(std::size_t count, std::uint64_t seed) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<float>(philox4x32(i, seed)[0]) * 0x1p-31F - 1.0F;
  return values;
}

void write_test_model(const TestModel& model, const fs::path& folder) {
  const std::int64_t head_dim = model.hidden_size / model.num_heads;
  const std::int64_t kv_width = model.num_kv_heads * head_dim;
  nlohmann::json config = {{"model_type", model.model_type},
                           {"hidden_size", model.hidden_size},
                           {"num_hidden_layers", model.num_layers},
                           {"intermediate_size", model.intermediate_size},
                           {"num_attention_heads", model.num_heads},
                           {"num_key_value_heads", model.num_kv_heads},
                           {"vocab_size", model.vocab_size},
                           {"rms_norm_eps", 1e-5},
                           {"rope_theta", 10000.0},
                           {"tie_word_embeddings", model.tied},
                           {"attention_bias", model.attention_bias}};
  if (model.window > 0) {
    config["layer_types"] = std::vector<std::string>(static_cast<std::size_t>(model.num_layers), "full_attention");
    config["layer_types"][0] = "sliding_attention";
    config["sliding_window"] = model.window;
  }
  if (model.quantization) config["quantization"] = {{"group_size", model.quantization->group_size}, {"bits", model.quantization->bits}};

  const bool qwen2 = model.model_type == "qwen2";
  ModelWriter writer(model);
  writer.linear("model.embed_tokens", model.vocab_size, model.hidden_size, false);
  if (!model.tied) writer.linear("lm_head", model.vocab_size, model.hidden_size, false);
  writer.vector("model.norm.weight", model.hidden_size, 1.0F);
  for (std::int64_t i = 0; i < model.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    writer.vector(prefix + "input_layernorm.weight", model.hidden_size, 1.0F);
    writer.vector(prefix + "post_attention_layernorm.weight", model.hidden_size, 1.0F);
    const bool qkv_bias = qwen2 || model.attention_bias;
    writer.linear(prefix + "self_attn.q_proj", model.hidden_size, model.hidden_size, qkv_bias);
    writer.linear(prefix + "self_attn.k_proj", kv_width, model.hidden_size, qkv_bias);
    writer.linear(prefix + "self_attn.v_proj", kv_width, model.hidden_size, qkv_bias);
    writer.linear(prefix + "self_attn.o_proj", model.hidden_size, model.hidden_size, !qwen2 && model.attention_bias);
    writer.linear(prefix + "mlp.gate_proj", model.intermediate_size, model.hidden_size, false);
    writer.linear(prefix + "mlp.up_proj", model.intermediate_size, model.hidden_size, false);
    writer.linear(prefix + "mlp.down_proj", model.hidden_size, model.intermediate_size, false);
  }
  FileSystem& files = real_file_system();
  CHECK(files.create_directories(folder).ok());
  CHECK(write_file_atomically(files, folder / "config.json", config.dump(1)).ok());
  CHECK(write_safetensors(files, folder / "model.safetensors", writer.tensors(), std::nullopt).ok());
}

ModelWeights load_test_model(const TestModel& model, const fs::path& folder) {
  write_test_model(model, folder);
  Result<MlxFolder> opened = MlxFolder::open(real_file_system(), folder);
  CHECK(opened.ok());
  Result<ModelWeights> weights = ModelWeights::load(std::move(opened).value());
  CHECK(weights.ok());
  return std::move(weights).value();
}

}  // namespace evolora
