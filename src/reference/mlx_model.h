// The frozen model as MLX arrays, and the products with its weights.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "engine/mlx_recipe.h"
#include "model/weights.h"
#include "reference/mlx_arrays.h"

namespace evolora {

// weight (out, in): dense of the model's type, or packed words with scales and biases per group (MLX affine).
struct MlxWeight {
  mx::array data;
  std::optional<mx::array> scales;
  std::optional<mx::array> biases;
  int bits = 0;  // 0: dense
  int group_size = 0;
  std::int64_t out = 0;
  std::int64_t in = 0;

  bool quantized() const { return bits != 0; }
};

// x (..., in) -> (..., out): nn.Linear's or nn.QuantizedLinear's product, without bias.
mx::array times_transposed(const mx::array& x, const MlxWeight& weight);
// dy (..., out) -> (..., in).
mx::array times(const mx::array& dy, const MlxWeight& weight);
// Dense weight (out, in) in the type of scales, as mx.dequantize.
mx::array dense_weight(const MlxWeight& weight);
// Rows of the embedding table, as nn.Embedding and nn.QuantizedEmbedding. tokens (B, T) -> (B, T, D).
mx::array embed(const mx::array& tokens, const MlxWeight& table);
// Can the two be stored as one?
bool same_storage(const MlxWeight& a, const MlxWeight& b);
// Rows of all, one below the other.
MlxWeight concatenated(const std::vector<MlxWeight>& weights);

struct MlxLinear {
  MlxWeight weight;
  std::optional<mx::array> bias;  // (out)
};

// nn.Linear or nn.QuantizedLinear.
mx::array linear(const mx::array& x, const MlxLinear& layer);

struct MlxLayer {
  mx::array input_norm;
  mx::array post_attention_norm;
  std::vector<MlxLinear> linears;  // by Projection
  const MlxLinear& operator[](Projection p) const { return linears[static_cast<std::size_t>(p)]; }
};

struct MlxModel {
  ModelSpec spec;
  MlxWeight embedding;
  MlxWeight head;
  mx::array final_norm;
  std::vector<MlxLayer> layers;
  // One of the two: mlx-lm gives plain rope its base, and scaled rope (llama3, linear) its wavelengths.
  std::optional<float> rope_base;
  std::optional<mx::array> rope_frequencies;  // (C/2) wavelength / 2 pi
};

MlxModel make_mlx_model(const ModelWeights& weights, MlxArithmetic arithmetic);

}  // namespace evolora
