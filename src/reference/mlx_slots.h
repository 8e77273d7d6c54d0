// Which implementation fills which slot of which layer, decided before the first step: a replacement that cannot apply to a layer leaves that layer
// at mlx-lm's operations, and the reason is kept.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "engine/mlx_recipe.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// Of one layer.
struct MlxLayerSlots {
  // Per group: q|k|v, o, gate|up, down.
  MlxLoraLinear qkv = MlxLoraLinear::kStandard;
  MlxLoraLinear o = MlxLoraLinear::kStandard;
  MlxLoraLinear gate_up = MlxLoraLinear::kStandard;
  MlxLoraLinear down = MlxLoraLinear::kStandard;
  MlxSwiglu swiglu = MlxSwiglu::kStandard;
};

struct MlxSlotPlan {
  std::vector<MlxLayerSlots> layers;
  // "lora_linear" -> "optimized" -> number of adapted layers that run it in at least one of their groups.
  std::map<std::string, std::map<std::string, int>> counts;
  // Slot, and what was asked for and does not apply, and why -> in which layers:
  // {"lora_linear", "lora_linear grouped does not apply to gate|up: ..."} -> {3, 5}.
  std::map<std::pair<std::string, std::string>, std::vector<std::int64_t>> fallbacks;
};

// A kernel pack that is to fill lora_linear. why_not: empty if it can serve this adapted linear.
struct MlxPackOffer {
  std::string name;  // empty: no pack
  std::function<std::string(std::int64_t layer, Projection p)> why_not;
};

// Layers below the first adapter have no backward pass and nothing that could be replaced: they are not counted.
// Where a pack is offered, it takes the place of the recipe's lora_linear; where it cannot serve all adapted linears of a group, that group keeps
// mlx-lm's operations.
MlxSlotPlan plan_mlx_slots(const MlxRecipe& recipe, const ModelWeights& weights, const AdapterSet& adapters, const MlxPackOffer& pack = {});

}  // namespace evolora
