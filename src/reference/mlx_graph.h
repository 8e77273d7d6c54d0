// The forward pass of a Llama or Qwen2 model with adapters as an MLX graph: mlx_lm/models/llama.py and qwen2.py with the slots that a plan chose.
#pragma once

#include <map>
#include <vector>

#include "model/adapter.h"
#include "reference/mlx_batch.h"
#include "reference/mlx_calls.h"
#include "reference/mlx_lora.h"
#include "reference/mlx_model.h"
#include "reference/mlx_pack.h"
#include "reference/mlx_slots.h"

namespace evolora {

struct MlxGraphOptions {
  MlxRecipe recipe;
  bool grad_checkpoint = false;
  std::int64_t head_rows_per_chunk = 0;  // <= 0: default_rows_per_chunk
  std::shared_ptr<const MlxPack> pack;   // null: none
};

// Trainable arrays are a flat list: a, b (and m for DoRA) of every module of the adapter set, in its order. Immutable after construction.
class MlxGraph {
 public:
  MlxGraph(const MlxGraphOptions& options, const ModelWeights& weights, const AdapterSet& adapters);

  // Arrays in the flat list.
  std::size_t parameter_arrays() const { return modules_.size() * arrays_per_module_; }
  // The list from and into a buffer laid out as AdapterSet::parameters().
  std::vector<mx::array> parameters_from(const float* flat) const;
  void copy_parameters(const std::vector<mx::array>& parameters, float* flat) const;

  // Sum of cross-entropy, fp32 scalar. dropout_keys (modules, 2) uint32, or null: no dropout. What fills the slots is counted in calls, by backward
  // passes too, so it must live as long as MLX differentiates the result.
  mx::array loss_sum(const std::vector<mx::array>& parameters, const MlxBatch& batch, const mx::array* dropout_keys, MlxCalls& calls) const;

  const MlxSlotPlan& plan() const { return plan_; }
  std::size_t module_count() const { return modules_.size(); }

 private:
  // What a block sees of the flat list, the keys and the batch's masks.
  struct Trainable {
    const std::vector<mx::array>& parameters;
    const mx::array* dropout_keys;
    const std::map<std::int64_t, mx::array>& window_masks;  // (T, T) bool by window; for those shorter than the rows
    MlxCalls& calls;
  };

  MlxPackOffer pack_offer();
  void build_groups(const ModelWeights& weights);
  std::map<std::int64_t, mx::array> window_masks(mx::ShapeElem tokens) const;
  std::optional<std::size_t> module_index(std::int64_t layer, Projection p) const;
  MlxAdapter adapter(const Trainable& trainable, std::size_t module) const;
  mx::array project_one(std::int64_t layer, Projection p, MlxLoraLinear kind, const mx::array& x, const Trainable& trainable) const;
  std::vector<mx::array> project(std::int64_t layer, const std::vector<Projection>& members, MlxLoraLinear kind, const mx::array& x,
                                 const Trainable& trainable) const;
  mx::array rope(const mx::array& x) const;
  mx::array attention(std::int64_t layer, const mx::array& x, const Trainable& trainable) const;
  mx::array mlp(std::int64_t layer, const mx::array& x, const Trainable& trainable) const;
  mx::array block(std::int64_t layer, const mx::array& x, const Trainable& trainable) const;
  mx::array checkpointed_block(std::int64_t layer, const mx::array& x, const Trainable& trainable) const;

  MlxGraphOptions options_;
  MlxModel model_;
  std::vector<AdapterModule> modules_;
  std::size_t arrays_per_module_ = 2;
  std::map<std::pair<std::int64_t, Projection>, std::size_t> index_;     // -> module
  std::map<std::pair<std::int64_t, Projection>, MlxPrepared> prepared_;  // of linears that a pack can serve
  MlxSlotPlan plan_;
  std::map<std::pair<std::int64_t, Projection>, MlxLinearGroup> groups_;  // of optimized slots, by layer and first member
};

}  // namespace evolora
