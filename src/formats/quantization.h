// MLX affine quantization: w ~ scale * q + bias per group of consecutive inputs, q packed little-end first into uint32 words: a row is one
// stream of bits, so codes of 3, 5 and 6 bits straddle words.
// Byte-equal with mlx.core.quantize / dequantize (mode "affine"). Bits 2, 3, 4, 5, 6 and 8, groups 32, 64, 128.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/result.h"

namespace evolora {

struct AffineQuantization {
  int bits = 4;
  int group_size = 64;
  bool operator==(const AffineQuantization&) const = default;
};

// kUnsupported naming the pair if it is not one of ours.
Status check_affine_quantization(const AffineQuantization& q);

// uint32 words of one row of in_features weights.
std::size_t packed_words_per_row(const AffineQuantization& q, std::int64_t in_features);

// weight (rows, in) of dtype -> packed (rows, in*bits/32) uint32, scales and biases (rows, in/group) of the same dtype. in % group_size == 0.
void affine_quantize(const AffineQuantization& q, DType dtype, const void* weight, std::int64_t rows, std::int64_t in_features, std::uint32_t* packed,
                     void* scales, void* biases);

// The inverse: out (rows, in) of dtype (that of scales and biases), rounded as mlx does.
void affine_dequantize(const AffineQuantization& q, DType dtype, const std::uint32_t* packed, const void* scales, const void* biases,
                       std::int64_t rows, std::int64_t in_features, void* out);

}  // namespace evolora
