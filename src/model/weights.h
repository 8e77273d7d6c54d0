// The frozen weights of a model, in place in its mapped files, checked against the spec.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "formats/mlx_folder.h"
#include "model/spec.h"
#include "model/weight_view.h"

namespace evolora {

// The seven linears of a block, in the order of the forward pass.
enum class Projection : int { kQ, kK, kV, kO, kGate, kUp, kDown };
inline constexpr int kProjectionCount = 7;
// Path inside the block: "self_attn.q_proj", ..., "mlp.down_proj".
const char* projection_path(Projection projection);

struct LinearWeights {
  WeightView weight;
  const float* bias = nullptr;  // (out) or null
};

struct LayerWeights {
  const float* input_norm = nullptr;           // (D)
  const float* post_attention_norm = nullptr;  // (D)
  std::array<LinearWeights, kProjectionCount> linears;
  const LinearWeights& operator[](Projection p) const { return linears[static_cast<std::size_t>(p)]; }
};

// Immutable and thread-safe after load. Keeps the mapped files alive. Norms and biases (small) are copied to fp32.
class ModelWeights {
 public:
  // Errors: kBadData naming the tensor with expected and got shape or dtype (missing, mis-shaped), and those of parse_model_spec.
  static Result<ModelWeights> load(MlxFolder folder);

  const ModelSpec& spec() const { return spec_; }
  const WeightView& embedding() const { return embedding_; }  // (V, D)
  const WeightView& head() const { return head_; }            // (V, D); the embedding when tied
  const float* final_norm() const { return final_norm_; }     // (D)
  const LayerWeights& layer(std::int64_t i) const { return layers_[static_cast<std::size_t>(i)]; }
  const MlxFolder& folder() const { return folder_; }
  std::size_t stored_bytes() const { return stored_bytes_; }  // of all tensors used
  std::size_t largest_linear_bytes() const;                   // of one block's weight

 private:
  explicit ModelWeights(MlxFolder folder) : folder_(std::move(folder)) {}
  MlxFolder folder_;
  ModelSpec spec_;
  WeightView embedding_;
  WeightView head_;
  const float* final_norm_ = nullptr;
  std::vector<LayerWeights> layers_;
  std::vector<std::vector<float>> owned_vectors_;  // norms and biases as fp32
  std::size_t stored_bytes_ = 0;

  friend class WeightLoader;
};

// Euclidean norm of every row (out), of the values that the weight stands for (dequantized and rounded to its type, as MLX does), summed in fp64.
std::vector<float> row_norms(const WeightView& weight);
// Bytes of a weight as stored, scales and biases included.
std::size_t stored_bytes_of(const WeightView& weight);
// Gives its pages back (release_mapped_pages). Only for views of a loaded model.
void release_weight(const WeightView& weight);

}  // namespace evolora
