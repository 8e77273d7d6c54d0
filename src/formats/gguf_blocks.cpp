// ggml keeps element j of a 4-bit block in the low nibble of byte j and element j + 16 in its high nibble; MLX packs elements in order.
#include "formats/gguf_blocks.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "base/check.h"

namespace evolora {
namespace {

constexpr std::size_t kBlock = 32;

struct Block {
  float scale = 0;
  float bias = 0;
  std::array<std::uint8_t, kBlock> codes{};  // w = scale * code + bias
};

std::uint16_t load_half(const std::byte* p) {
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return bits;
}

void read_nibbles(const std::byte* p, Block& block) {
  for (std::size_t j = 0; j < kBlock / 2; ++j) {
    const auto byte = static_cast<std::uint8_t>(p[j]);
    block.codes[j] = byte & 15;
    block.codes[j + kBlock / 2] = byte >> 4;
  }
}

Block read_block(GgufType type, const std::byte* p) {
  Block block;
  block.scale = f16_to_f32(load_half(p));
  switch (type) {
    case GgufType::kQ4_0:
      block.bias = -8.0F * block.scale;
      read_nibbles(p + 2, block);
      break;
    case GgufType::kQ4_1:
      block.bias = f16_to_f32(load_half(p + 2));
      read_nibbles(p + 4, block);
      break;
    case GgufType::kQ8_0:
      block.bias = -128.0F * block.scale;
      for (std::size_t j = 0; j < kBlock; ++j) block.codes[j] = static_cast<std::uint8_t>(static_cast<std::uint8_t>(p[2 + j]) ^ 0x80u);  // q + 128
      break;
    default: CHECK(false);
  }
  return block;
}

std::size_t blocks_per_row(const GgufTensor& tensor) { return static_cast<std::size_t>(tensor.shape.back()) / gguf_block_elements(tensor.type); }

const std::byte* row_bytes(const GgufTensor& tensor, std::int64_t row) {
  return tensor.bytes.data() + static_cast<std::size_t>(row) * blocks_per_row(tensor) * gguf_block_bytes(tensor.type);
}

bool half_is_finite(const std::byte* p) { return (load_half(p) & 0x7c00) != 0x7c00; }

bool block_is_finite(GgufType type, const std::byte* p) {
  if (type == GgufType::kF32) {
    float value;
    std::memcpy(&value, p, sizeof(value));
    return std::isfinite(value);
  }
  return half_is_finite(p) && (type != GgufType::kQ4_1 || half_is_finite(p + 2));
}

}  // namespace

std::optional<AffineQuantization> gguf_affine_equivalent(GgufType type) {
  switch (type) {
    case GgufType::kQ4_0:
    case GgufType::kQ4_1: return AffineQuantization{.bits = 4, .group_size = 32};
    case GgufType::kQ8_0: return AffineQuantization{.bits = 8, .group_size = 32};
    default: return std::nullopt;
  }
}

bool gguf_biases_fit_f16(const GgufTensor& tensor) {
  if (tensor.type == GgufType::kQ4_1) return true;
  const std::size_t step = gguf_block_bytes(tensor.type);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += step) {
    const float bias = read_block(tensor.type, tensor.bytes.data() + at).bias;
    if (f16_to_f32(f32_to_f16(bias)) != bias) return false;
  }
  return true;
}

Status check_gguf_finite(const GgufTensor& tensor) {
  const std::size_t step = gguf_block_bytes(tensor.type);
  for (std::size_t at = 0; at < tensor.bytes.size(); at += step) {
    if (!block_is_finite(tensor.type, tensor.bytes.data() + at)) {
      return Error{ErrorCode::kBadData,
                   "tensor '" + tensor.name + "': not finite at element " + std::to_string(at / step * gguf_block_elements(tensor.type))};
    }
  }
  return {};
}

void gguf_repack_row(const GgufTensor& tensor, std::int64_t row, std::uint32_t* packed, float* scales, float* biases) {
  const std::optional<AffineQuantization> q = gguf_affine_equivalent(tensor.type);
  CHECK(q.has_value());
  const auto bits = static_cast<std::size_t>(q->bits);
  const std::size_t per_word = 32 / bits;
  const std::byte* p = row_bytes(tensor, row);
  for (std::size_t b = 0; b < blocks_per_row(tensor); ++b, p += gguf_block_bytes(tensor.type)) {
    const Block block = read_block(tensor.type, p);
    scales[b] = block.scale;
    biases[b] = block.bias;
    for (std::size_t w = 0; w < kBlock / per_word; ++w) {
      std::uint32_t word = 0;
      for (std::size_t k = 0; k < per_word; ++k) word |= std::uint32_t{block.codes[w * per_word + k]} << (k * bits);
      *packed++ = word;
    }
  }
}

void gguf_expand_row(const GgufTensor& tensor, std::int64_t row, float* out) {
  const std::byte* p = row_bytes(tensor, row);
  const auto count = static_cast<std::size_t>(tensor.shape.back());
  if (tensor.type == GgufType::kF32) {
    std::memcpy(out, p, count * sizeof(float));
    return;
  }
  if (tensor.type == GgufType::kF16) {
    for (std::size_t i = 0; i < count; ++i) out[i] = f16_to_f32(load_half(p + 2 * i));
    return;
  }
  for (std::size_t b = 0; b < blocks_per_row(tensor); ++b, p += gguf_block_bytes(tensor.type)) {
    const Block block = read_block(tensor.type, p);
    for (std::size_t j = 0; j < kBlock; ++j) {
      const float product = block.scale * static_cast<float>(block.codes[j]);
      out[b * kBlock + j] = product + block.bias;
    }
  }
}

}  // namespace evolora
