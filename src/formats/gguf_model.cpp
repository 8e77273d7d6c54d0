// Names and shapes of llama.cpp's "llama" and "qwen2" files, and the configuration that mlx-lm expects for them.
#include "formats/gguf_model.h"

#include <array>
#include <charconv>
#include <set>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct Dimensions {
  std::string architecture;
  std::int64_t hidden = 0;
  std::int64_t layers = 0;
  std::int64_t intermediate = 0;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t context = 0;
  std::int64_t vocabulary = 0;
};

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return out + ")";
}

// The shortest decimal that is this float: 1e-05 and not 9.999999747378752e-06, as the original config.json had it.
double shortest_as_double(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), static_cast<float>(value)).ptr;
  double out = value;
  std::from_chars(text.data(), end, out);
  return out;
}

class ModelReader {
 public:
  explicit ModelReader(const GgufFile& file) : file_(file), where_(file.path().string()) {}

  Result<GgufModel> read() {
    TRY(read_dimensions());
    TRY(check_rope());
    TRY(collect_tensors());
    TRY(write_config());
    return std::move(model_);
  }

 private:
  Error bad(const std::string& message) const { return Error{ErrorCode::kBadData, where_ + ": " + message}; }
  Error unsupported(const std::string& message) const { return Error{ErrorCode::kUnsupported, where_ + ": " + message}; }
  std::string key(const char* name) const { return dims_.architecture + "." + name; }

  Result<std::int64_t> positive(const char* name) const {
    const std::int64_t value = TRY(file_.integer(key(name)));
    constexpr std::int64_t kLimit = 1 << 24;  // the product of two such numbers is far from 63 bits
    if (value < 1 || value > kLimit) return bad("metadata key '" + key(name) + "': " + std::to_string(value) + " is out of range");
    return value;
  }

  Result<std::int64_t> positive_or(const char* name, std::int64_t fallback) const {
    return file_.value(key(name)) == nullptr ? Result<std::int64_t>(fallback) : positive(name);
  }

  Status read_dimensions() {
    dims_.architecture = TRY(file_.string("general.architecture"));
    if (dims_.architecture != "llama" && dims_.architecture != "qwen2") {
      return unsupported("architecture '" + dims_.architecture + "' is not supported; supported: llama, qwen2");
    }
    if (file_.value(key("expert_count")) != nullptr && TRY(file_.integer(key("expert_count"))) != 0) {
      return unsupported("mixtures of experts are not supported ('" + key("expert_count") + "')");
    }
    dims_.hidden = TRY(positive("embedding_length"));
    dims_.layers = TRY(positive("block_count"));
    dims_.intermediate = TRY(positive("feed_forward_length"));
    dims_.heads = TRY(positive("attention.head_count"));
    dims_.kv_heads = TRY(positive_or("attention.head_count_kv", dims_.heads));
    dims_.context = TRY(positive("context_length"));
    if (dims_.heads % dims_.kv_heads != 0) {
      return bad(std::to_string(dims_.heads) + " query heads are no multiple of " + std::to_string(dims_.kv_heads) + " key and value heads");
    }
    if (file_.value(key("attention.key_length")) == nullptr && dims_.hidden % dims_.heads != 0) {
      return bad("embedding length " + std::to_string(dims_.hidden) + " is no multiple of " + std::to_string(dims_.heads) + " heads");
    }
    dims_.head_dim = TRY(positive_or("attention.key_length", dims_.hidden / dims_.heads));
    if (TRY(positive_or("attention.value_length", dims_.head_dim)) != dims_.head_dim)
      return unsupported("keys and values of different widths are not supported");
    if (dims_.head_dim % 2 != 0) return bad("head dimension " + std::to_string(dims_.head_dim) + " is odd");
    const GgufTensor* embedding = file_.find("token_embd.weight");
    if (embedding == nullptr) return bad("tensor 'token_embd.weight' is missing");
    dims_.vocabulary = embedding->shape.front();
    return {};
  }

  Status check_rope() const {
    const std::int64_t rotated = TRY(positive_or("rope.dimension_count", dims_.head_dim));
    if (rotated != dims_.head_dim) {
      return unsupported("rotation of " + std::to_string(rotated) + " of " + std::to_string(dims_.head_dim) + " head dimensions is not supported");
    }
    if (file_.value(key("rope.scaling.type")) != nullptr) {
      const std::string_view type = TRY(file_.string(key("rope.scaling.type")));
      if (type != "none" && type != "linear")
        return unsupported("rope scaling '" + std::string(type) + "' is not supported; supported: none, linear");
    }
    return {};
  }

  Status add(const std::string& source, const std::string& name, const std::vector<std::int64_t>& shape, std::int64_t rotated_heads = 0) {
    const GgufTensor* tensor = file_.find(source);
    if (tensor == nullptr) return bad("tensor '" + source + "' is missing");
    if (tensor->shape != shape) return bad("tensor '" + source + "': expected shape " + shape_text(shape) + ", got " + shape_text(tensor->shape));
    model_.tensors.push_back({tensor, name, rotated_heads});
    used_.insert(source);
    return {};
  }

  // weight, and the bias if the file has one. Whether it has must not differ between layers: the configuration has one switch for all.
  Status add_linear(const std::string& source, const std::string& name, std::int64_t out, std::int64_t in, bool& has_bias, bool first,
                    std::int64_t rotated_heads = 0) {
    TRY(add(source + ".weight", name + ".weight", {out, in}, rotated_heads));
    const bool found = file_.find(source + ".bias") != nullptr;
    if (!first && found != has_bias) return bad("tensor '" + source + ".bias': some layers have it and some have not");
    has_bias = found;
    return found ? add(source + ".bias", name + ".bias", {out}, rotated_heads) : Status{};
  }

  Status collect_layer(std::int64_t i) {
    const std::string from = "blk." + std::to_string(i) + ".";
    const std::string to = "model.layers." + std::to_string(i) + ".";
    const std::int64_t q_rows = dims_.heads * dims_.head_dim;
    const std::int64_t kv_rows = dims_.kv_heads * dims_.head_dim;
    const bool rotated = dims_.architecture == "llama";
    const bool first = i == 0;
    TRY(add(from + "attn_norm.weight", to + "input_layernorm.weight", {dims_.hidden}));
    TRY(add_linear(from + "attn_q", to + "self_attn.q_proj", q_rows, dims_.hidden, q_bias_, first, rotated ? dims_.heads : 0));
    TRY(add_linear(from + "attn_k", to + "self_attn.k_proj", kv_rows, dims_.hidden, k_bias_, first, rotated ? dims_.kv_heads : 0));
    TRY(add_linear(from + "attn_v", to + "self_attn.v_proj", kv_rows, dims_.hidden, v_bias_, first));
    TRY(add_linear(from + "attn_output", to + "self_attn.o_proj", dims_.hidden, q_rows, o_bias_, first));
    TRY(add(from + "ffn_norm.weight", to + "post_attention_layernorm.weight", {dims_.hidden}));
    TRY(add_linear(from + "ffn_gate", to + "mlp.gate_proj", dims_.intermediate, dims_.hidden, gate_bias_, first));
    TRY(add_linear(from + "ffn_up", to + "mlp.up_proj", dims_.intermediate, dims_.hidden, up_bias_, first));
    TRY(add_linear(from + "ffn_down", to + "mlp.down_proj", dims_.hidden, dims_.intermediate, down_bias_, first));
    return {};
  }

  Status collect_tensors() {
    TRY(add("token_embd.weight", "model.embed_tokens.weight", {dims_.vocabulary, dims_.hidden}));
    for (std::int64_t i = 0; i < dims_.layers; ++i) TRY(collect_layer(i));
    TRY(add("output_norm.weight", "model.norm.weight", {dims_.hidden}));
    tied_ = file_.find("output.weight") == nullptr;
    if (!tied_) TRY(add("output.weight", "lm_head.weight", {dims_.vocabulary, dims_.hidden}));
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!used_.contains(tensor.name)) return unsupported("tensor '" + tensor.name + "' has no place in a " + dims_.architecture + " model");
    }
    return check_biases();
  }

  // mlx-lm's llama has biases on all four attention linears or none, and on all three of the MLP or none; its qwen2 has them on q, k and v.
  Status check_biases() const {
    const bool attention_agrees = q_bias_ == k_bias_ && k_bias_ == v_bias_;
    const bool mlp_agrees = gate_bias_ == up_bias_ && up_bias_ == down_bias_;
    const bool fits = dims_.architecture == "qwen2" ? attention_agrees && q_bias_ && !o_bias_ && mlp_agrees && !gate_bias_
                                                    : attention_agrees && q_bias_ == o_bias_ && mlp_agrees;
    return fits ? Status{} : unsupported("this combination of linears with and without biases is not supported for " + dims_.architecture);
  }

  Status write_config() {
    Json& c = model_.config;
    const bool llama = dims_.architecture == "llama";
    c["model_type"] = dims_.architecture;
    c["architectures"] = {llama ? "LlamaForCausalLM" : "Qwen2ForCausalLM"};
    c["hidden_act"] = "silu";
    c["hidden_size"] = dims_.hidden;
    c["num_hidden_layers"] = dims_.layers;
    c["intermediate_size"] = dims_.intermediate;
    c["num_attention_heads"] = dims_.heads;
    c["num_key_value_heads"] = dims_.kv_heads;
    if (llama) {
      c["head_dim"] = dims_.head_dim;
      c["attention_bias"] = q_bias_;
      c["mlp_bias"] = gate_bias_;
    } else if (dims_.head_dim * dims_.heads != dims_.hidden) {
      return unsupported("qwen2 with a head dimension other than " + std::to_string(dims_.hidden / dims_.heads) + " is not supported");
    }
    c["rms_norm_eps"] = shortest_as_double(TRY(file_.number(key("attention.layer_norm_rms_epsilon"))));
    c["rope_theta"] = file_.value(key("rope.freq_base")) == nullptr ? 10000.0 : shortest_as_double(TRY(file_.number(key("rope.freq_base"))));
    if (file_.value(key("rope.scaling.type")) != nullptr && TRY(file_.string(key("rope.scaling.type"))) == "linear") {
      c["rope_scaling"] = {{"type", "linear"}, {"factor", shortest_as_double(TRY(file_.number(key("rope.scaling.factor"))))}};
    }
    c["max_position_embeddings"] = dims_.context;
    c["vocab_size"] = dims_.vocabulary;
    c["tie_word_embeddings"] = tied_;
    return {};
  }

  const GgufFile& file_;
  std::string where_;
  Dimensions dims_;
  GgufModel model_;
  std::set<std::string, std::less<>> used_;
  bool tied_ = false;
  bool q_bias_ = false;
  bool k_bias_ = false;
  bool v_bias_ = false;
  bool o_bias_ = false;
  bool gate_bias_ = false;
  bool up_bias_ = false;
  bool down_bias_ = false;
};

}  // namespace

std::int64_t gguf_row(const GgufModelTensor& tensor, std::int64_t row) {
  if (tensor.rotated_heads == 0) return row;
  // MLX: head, half (2), position (C / 2). File: head, position, half.
  const std::int64_t head_dim = tensor.tensor->shape.front() / tensor.rotated_heads;
  const std::int64_t head = row / head_dim;
  const std::int64_t inside = row % head_dim;
  const std::int64_t half = inside / (head_dim / 2);
  const std::int64_t position = inside % (head_dim / 2);
  return head * head_dim + position * 2 + half;
}

Result<GgufModel> read_gguf_model(const GgufFile& file) { return ModelReader(file).read(); }

}  // namespace evolora
