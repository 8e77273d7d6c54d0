// What really filled the slots, block by block, counted where the graph calls it: the MLX engine's part of the applied proof. A plan (mlx_slots.h)
// says what shall run; this says what ran.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/mlx_recipe.h"
#include "model/adapter.h"

namespace evolora {

struct MlxCallCount {
  std::int64_t forward = 0;
  std::int64_t backward = 0;
};

// Not thread-safe. A linear inside a group counts as one call, so a block has seven forward calls of lora_linear per pass. Backward calls of
// replacements are counted inside their own backward functions. Backward passes of standard operations are made by MLX, which tells nobody: they are
// counted by add_autodiff_backward after MLX has returned their gradients.
class MlxCalls {
 public:
  MlxCalls() = default;
  // pack_name: of the kernel pack, if there is one, in to_json.
  MlxCalls(std::int64_t layers, const AdapterSet& adapters, std::string pack_name = "");

  // Of a linear with an adapter.
  void forward(std::int64_t layer, Projection p, MlxLoraLinear kind) { ++linear(layer, p, kind).forward; }
  void backward(std::int64_t layer, Projection p, MlxLoraLinear kind) { ++linear(layer, p, kind).backward; }
  // A linear without one.
  void frozen(std::int64_t layer) { ++layers_[static_cast<std::size_t>(layer)].frozen; }
  MlxCallCount& swiglu(std::int64_t layer, MlxSwiglu kind) { return layers_[static_cast<std::size_t>(layer)].swiglu[static_cast<std::size_t>(kind)]; }
  MlxCallCount& head_loss(MlxHeadLoss kind) { return head_loss_[static_cast<std::size_t>(kind)]; }

  // One backward call of every standard operation above the first adapter that went forward since the last clear().
  void add_autodiff_backward();
  // The calls of one execution of what `traced` was counted in.
  void add(const MlxCalls& traced);
  void clear();
  bool empty() const { return head_loss_[0].forward + head_loss_[1].forward == 0; }

  // {"served": {slot: {implementation: adapted blocks that it ran in; 1 for head_loss}}, "calls": {slot: {"forward", "backward"}},
  // "layers": [{slot: [forward, backward]}] per block}
  nlohmann::ordered_json to_json() const;

 private:
  static constexpr std::size_t kLinearKinds = 4;
  struct Layer {
    std::array<std::array<MlxCallCount, kLinearKinds>, kProjectionCount> linears;
    std::array<MlxCallCount, 2> swiglu;
    std::int64_t frozen = 0;  // forward calls of linears without an adapter
  };
  MlxCallCount& linear(std::int64_t layer, Projection p, MlxLoraLinear kind) {
    return layers_[static_cast<std::size_t>(layer)].linears[static_cast<std::size_t>(p)][static_cast<std::size_t>(kind)];
  }

  std::int64_t first_adapted_ = 0;
  std::string pack_name_;
  std::vector<Layer> layers_;
  std::array<MlxCallCount, 2> head_loss_;
};

}  // namespace evolora
