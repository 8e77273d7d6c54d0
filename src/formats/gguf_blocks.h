// Blocks of GGUF tensors: exact re-packing into MLX affine groups of 32, and expansion to fp32.
#pragma once

#include <optional>

#include "base/result.h"
#include "formats/gguf.h"
#include "formats/quantization.h"

namespace evolora {

// The MLX quantization that holds exactly what the type holds: Q4_0, Q4_1 -> 4 bits, Q8_0 -> 8 bits, group size 32. nullopt for float types.
//   Q4_1: w = d q + m, q 0..15          scale d, bias m
//   Q4_0: w = d (q - 8), q 0..15        scale d, bias -8 d
//   Q8_0: w = d q, q -128..127          code q + 128, scale d, bias -128 d
// All of q d (at most 19 significant bits) and the biases are exact in fp32, so fp32 arithmetic on either form gives the same number.
std::optional<AffineQuantization> gguf_affine_equivalent(GgufType type);

// Are all biases of the tensor exact in F16? A bias -8 d or -128 d is d with another exponent, so only overflow can spoil it.
bool gguf_biases_fit_f16(const GgufTensor& tensor);

// kBadData naming the tensor if a scale or minimum (or, of float types, an element) is infinite or not a number.
Status check_gguf_finite(const GgufTensor& tensor);

// Row row (index over all outer dimensions) of a block type: codes (K * bits / 32 words), scales and biases (K / 32 each) as fp32.
void gguf_repack_row(const GgufTensor& tensor, std::int64_t row, std::uint32_t* packed, float* scales, float* biases);

// Row row expanded to K floats, as ggml's dequantization computes them in fp32.
void gguf_expand_row(const GgufTensor& tensor, std::int64_t row, float* out);

}  // namespace evolora
