// For tests: GGUF files put together byte by byte, and a tiny model in one.
#pragma once

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace evolora {

// Appends to `bytes`; every part can be made wrong.
class GgufBuilder {
 public:
  struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dimensions;  // innermost first, as in the file
    std::uint32_t type = 0;
    std::string data;
    std::optional<std::uint64_t> offset;  // nullopt: the right one
  };

  std::string magic = "GGUF";
  std::uint32_t version = 3;
  std::optional<std::uint64_t> tensor_count;
  std::optional<std::uint64_t> value_count;
  std::uint64_t alignment = 32;
  std::vector<std::string> values;  // encoded metadata entries
  std::vector<Tensor> tensors;

  template <typename T>
  static std::string raw(T value) {
    std::string out(sizeof(T), '\0');
    std::memcpy(out.data(), &value, sizeof(T));
    return out;
  }
  static std::string text(std::string_view value) { return raw<std::uint64_t>(value.size()) + std::string(value); }

  GgufBuilder& value(std::string_view key, std::uint32_t type, const std::string& encoded) {
    values.push_back(text(key) + raw(type) + encoded);
    return *this;
  }
  GgufBuilder& u32(std::string_view key, std::uint32_t v) { return value(key, 4, raw(v)); }
  GgufBuilder& f32(std::string_view key, float v) { return value(key, 6, raw(v)); }
  GgufBuilder& flag(std::string_view key, bool v) { return value(key, 7, std::string(1, v ? '\1' : '\0')); }
  GgufBuilder& string(std::string_view key, std::string_view v) { return value(key, 8, text(v)); }
  GgufBuilder& strings(std::string_view key, const std::vector<std::string>& items) {
    std::string encoded = raw<std::uint32_t>(8) + raw<std::uint64_t>(items.size());
    for (const std::string& item : items) encoded += text(item);
    return value(key, 9, encoded);
  }
  GgufBuilder& integers(std::string_view key, const std::vector<std::int32_t>& items) {
    std::string encoded = raw<std::uint32_t>(5) + raw<std::uint64_t>(items.size());
    for (const std::int32_t item : items) encoded += raw(item);
    return value(key, 9, encoded);
  }
  GgufBuilder& tensor(std::string name, std::vector<std::uint64_t> dimensions, std::uint32_t type, std::string data) {
    tensors.push_back({std::move(name), std::move(dimensions), type, std::move(data), std::nullopt});
    return *this;
  }

  void remove_value(std::string_view key) {
    std::erase_if(values, [&](const std::string& v) { return v.starts_with(text(key)); });
  }

  std::string bytes() const {
    std::string out =
        magic + raw(version) + raw<std::uint64_t>(tensor_count.value_or(tensors.size())) + raw<std::uint64_t>(value_count.value_or(values.size()));
    for (const std::string& v : values) out += v;
    std::uint64_t offset = 0;
    for (const Tensor& t : tensors) {
      out += text(t.name) + raw(static_cast<std::uint32_t>(t.dimensions.size()));
      for (const std::uint64_t d : t.dimensions) out += raw(d);
      out += raw(t.type) + raw(t.offset.value_or(offset));
      offset = padded(offset + t.data.size());
    }
    for (const Tensor& t : tensors) {
      out.resize(padded(out.size()));
      out += t.data;
    }
    return out;
  }

 private:
  std::uint64_t padded(std::uint64_t n) const { return (n + alignment - 1) / alignment * alignment; }
};

// n F32 values; exact in F16 and BF16.
inline std::string f32_data(std::size_t n) {
  std::string out;
  for (std::size_t i = 0; i < n; ++i) out += GgufBuilder::raw(static_cast<float>(static_cast<int>(i % 61) - 30) / 32.0F);
  return out;
}

// Blocks of a quantized type with scales 2^-k and distinct codes.
inline std::string block_data(GgufType type, std::size_t blocks) {
  std::string out;
  for (std::size_t b = 0; b < blocks; ++b) {
    out += GgufBuilder::raw(static_cast<std::uint16_t>(0x2400 + (b % 7) * 0x91));                                // scale: 2^-6 and up
    if (type == GgufType::kQ4_1) out += GgufBuilder::raw(static_cast<std::uint16_t>(0xb000 + (b % 5) * 0x123));  // minimum: negative
    const std::size_t codes = type == GgufType::kQ8_0 ? 32 : 16;
    for (std::size_t i = 0; i < codes; ++i) out += static_cast<char>((b * 89 + i * 37 + 5) & 0xff);
  }
  return out;
}

// A llama of 2 layers (hidden 64, 2 heads of 32, 1 key and value head, intermediate 32, vocabulary 6): linears of `type`, embedding Q8_0, tied.
inline GgufBuilder tiny_llama(GgufType type) {
  GgufBuilder b;
  b.string("general.architecture", "llama").u32("llama.block_count", 2).u32("llama.context_length", 128).u32("llama.embedding_length", 64);
  b.u32("llama.feed_forward_length", 32).u32("llama.attention.head_count", 2).u32("llama.attention.head_count_kv", 1);
  b.f32("llama.attention.layer_norm_rms_epsilon", 1e-5F).f32("llama.rope.freq_base", 100000.0F);
  b.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
  b.strings("tokenizer.ggml.tokens", {"a", "b", "ab", "<|end|>", "<tool>", "[PAD]"}).integers("tokenizer.ggml.token_type", {1, 1, 1, 3, 4, 5});
  b.strings("tokenizer.ggml.merges", {"a b"}).u32("tokenizer.ggml.eos_token_id", 3).string("tokenizer.chat_template", "{{ messages }}\n");
  const auto add = [&](const std::string& name, std::uint64_t rows, std::uint64_t columns, GgufType kind) {
    const std::size_t n = rows * columns;
    b.tensor(name, {columns, rows}, static_cast<std::uint32_t>(kind), kind == GgufType::kF32 ? f32_data(n) : block_data(kind, n / 32));
  };
  const auto add_norm = [&](const std::string& name) { b.tensor(name, {64}, 0, f32_data(64)); };
  add("token_embd.weight", 6, 64, GgufType::kQ8_0);
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    add_norm(layer + "attn_norm.weight");
    add(layer + "attn_q.weight", 64, 64, type);
    add(layer + "attn_k.weight", 32, 64, type);
    add(layer + "attn_v.weight", 32, 64, type);
    add(layer + "attn_output.weight", 64, 64, type);
    add_norm(layer + "ffn_norm.weight");
    add(layer + "ffn_gate.weight", 32, 64, type);
    add(layer + "ffn_up.weight", 32, 64, type);
    add(layer + "ffn_down.weight", 64, 32, type);
  }
  add_norm("output_norm.weight");
  return b;
}

}  // namespace evolora
