// The rules, layer by layer.
#include "reference/mlx_slots.h"

#include <fmt/format.h>

namespace evolora {
namespace {

struct Group {
  const char* name;
  std::vector<Projection> members;
  MlxLoraLinear MlxLayerSlots::*slot;
};

const std::vector<Group>& groups() {
  static const std::vector<Group> all = {{"q|k|v", {Projection::kQ, Projection::kK, Projection::kV}, &MlxLayerSlots::qkv},
                                         {"o", {Projection::kO}, &MlxLayerSlots::o},
                                         {"gate|up", {Projection::kGate, Projection::kUp}, &MlxLayerSlots::gate_up},
                                         {"down", {Projection::kDown}, &MlxLayerSlots::down}};
  return all;
}

std::string storage(const WeightView& weight) {
  if (!weight.quantized()) return std::string(dtype_name(weight.dtype));
  return fmt::format("{}-bit group {}", weight.bits, weight.group_size);
}

// Empty: they can be one product.
std::string why_not_grouped(const Group& group, const LayerWeights& weights, const AdapterSet& adapters, std::int64_t layer) {
  const Projection first = group.members.front();
  for (const Projection p : group.members) {
    const WeightView& a = weights[first].weight;
    const WeightView& b = weights[p].weight;
    if (adapters.find(layer, p) == nullptr) return fmt::format("{} has no adapter", projection_path(p));
    if (a.bits != b.bits || a.group_size != b.group_size || a.dtype != b.dtype)
      return fmt::format("{} is {}, {} is {}", projection_path(first), storage(a), projection_path(p), storage(b));
  }
  return "";
}

class Planner {
 public:
  Planner(const MlxRecipe& recipe, const ModelWeights& weights, const AdapterSet& adapters, const MlxPackOffer& pack)
      : recipe_(recipe), weights_(weights), adapters_(adapters), pack_(pack) {}

  MlxSlotPlan plan() {
    for (std::int64_t i = 0; i < weights_.spec().num_layers; ++i) {
      MlxLayerSlots slots;
      if (i >= adapters_.first_layer()) slots = plan_layer(i);
      plan_.layers.push_back(slots);
    }
    return std::move(plan_);
  }

 private:
  MlxLayerSlots plan_layer(std::int64_t layer) {
    MlxLayerSlots slots;
    std::map<std::string, bool> used;
    for (const Group& group : groups()) {
      slots.*group.slot = lora_linear_of(group, layer);
      bool adapted = false;
      for (const Projection p : group.members) adapted = adapted || adapters_.find(layer, p) != nullptr;
      if (adapted) used[slots.*group.slot == MlxLoraLinear::kPack ? pack_.name : word(slots.*group.slot)] = true;
    }
    for (const auto& [name, yes] : used) ++plan_.counts["lora_linear"][name];
    slots.swiglu = swiglu_of(slots, layer);
    ++plan_.counts["swiglu"][word(slots.swiglu)];
    return slots;
  }

  MlxLoraLinear lora_linear_of(const Group& group, std::int64_t layer) {
    if (!pack_.name.empty()) return pack_or_standard(group, layer);
    if (recipe_.lora_linear == MlxLoraLinear::kStandard) return MlxLoraLinear::kStandard;
    if (adapters_.options().dropout > 0.0F) {
      fall_back(
          layer, "lora_linear",
          fmt::format("lora_linear {} does not apply to {}: adapter dropout draws a mask for every linear", word(recipe_.lora_linear), group.name));
      return MlxLoraLinear::kStandard;
    }
    if (recipe_.lora_linear == MlxLoraLinear::kOptimized || group.members.size() == 1) return MlxLoraLinear::kOptimized;
    const std::string reason = why_not_grouped(group, weights_.layer(layer), adapters_, layer);
    if (reason.empty()) return MlxLoraLinear::kGrouped;
    fall_back(layer, "lora_linear", fmt::format("lora_linear grouped does not apply to {}: {}; optimized one by one", group.name, reason));
    return MlxLoraLinear::kOptimized;
  }

  MlxLoraLinear pack_or_standard(const Group& group, std::int64_t layer) {
    std::string reason;
    bool adapted = false;
    for (const Projection p : group.members) {
      if (adapters_.find(layer, p) == nullptr) continue;
      adapted = true;
      const bool drops = adapters_.options().dropout > 0.0F;
      const std::string why = drops ? "adapter dropout draws a mask for every linear" : pack_.why_not(layer, p);
      if (reason.empty() && !why.empty()) reason = drops ? why : fmt::format("{}: {}", projection_path(p), why);
    }
    if (!adapted) return MlxLoraLinear::kStandard;
    if (reason.empty()) return MlxLoraLinear::kPack;
    fall_back(layer, "lora_linear", fmt::format("lora_linear {} does not apply to {}: {}", pack_.name, group.name, reason));
    return MlxLoraLinear::kStandard;
  }

  MlxSwiglu swiglu_of(const MlxLayerSlots& slots, std::int64_t layer) {
    if (recipe_.swiglu == MlxSwiglu::kStandard) return MlxSwiglu::kStandard;
    const bool adapted = adapters_.find(layer, Projection::kDown) != nullptr;
    if (!adapted || (slots.down != MlxLoraLinear::kStandard && slots.down != MlxLoraLinear::kPack)) return MlxSwiglu::kOptimized;
    fall_back(layer, "swiglu",
              fmt::format("swiglu optimized does not apply: it is part of the down projection, whose lora_linear is {}",
                          slots.down == MlxLoraLinear::kPack ? pack_.name : "standard"));
    return MlxSwiglu::kStandard;
  }

  void fall_back(std::int64_t layer, const std::string& slot, const std::string& what) { plan_.fallbacks[{slot, what}].push_back(layer); }

  const MlxRecipe& recipe_;
  const ModelWeights& weights_;
  const AdapterSet& adapters_;
  const MlxPackOffer& pack_;
  MlxSlotPlan plan_;
};

}  // namespace

MlxSlotPlan plan_mlx_slots(const MlxRecipe& recipe, const ModelWeights& weights, const AdapterSet& adapters, const MlxPackOffer& pack) {
  return Planner(recipe, weights, adapters, pack).plan();
}

}  // namespace evolora
