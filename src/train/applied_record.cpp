// Call counts and names as JSON.
#include "train/applied_record.h"

#include <span>

#include "base/sha256.h"
#include "kernels/kernel_table.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr auto kForward = static_cast<std::size_t>(Pass::kForward);
constexpr auto kBackward = static_cast<std::size_t>(Pass::kBackward);

std::int64_t quantized_linears(const ModelWeights& weights, const AdapterSet& adapters) {
  std::int64_t count = 0;
  for (const AdapterModule& module : adapters.modules()) count += weights.layer(module.layer)[module.projection].weight.quantized() ? 1 : 0;
  return count;
}

}  // namespace

Json applied_record(const CallCounts& counts, const Recipe& recipe, const ModelWeights& weights, const AdapterSet& adapters, std::int64_t updates,
                    const std::string& initial_adapter) {
  Json kernels;
  Json calls;
  for (int i = 0; i < kSlotCount; ++i) {
    const auto slot = static_cast<Slot>(i);
    SlotKernels only = KernelSet::kCpu;
    for (int other = 0; other < kSlotCount; ++other) only.set(static_cast<Slot>(other), recipe.kernels.of(slot));
    kernels[slot_name(slot)] = select_kernels(only).name;  // the name that the table itself has
    calls[slot_name(slot)] = {{"forward", counts.of(slot, Pass::kForward)}, {"backward", counts.of(slot, Pass::kBackward)}};
  }
  Json layers = Json::array();
  for (const CallCounts::Counts& layer : counts.layers) {
    Json of_layer;
    for (std::size_t i = 0; i < layer.size(); ++i) {
      if (layer[i][kForward] + layer[i][kBackward] > 0) of_layer[slot_name(static_cast<Slot>(i))] = {layer[i][kForward], layer[i][kBackward]};
    }
    layers.push_back(of_layer);
  }
  const std::int64_t model_layers = weights.spec().num_layers;
  return {{"engine", "fused"},
          {"kernels", kernels},
          {"calls", calls},
          {"layers", layers},
          {"updates", updates},
          {"model_layers", model_layers},
          {"adapted_layers", model_layers - adapters.first_layer()},
          {"adapted_linears", adapters.modules().size()},
          {"quantized_linears", quantized_linears(weights, adapters)},
          {"adapter_init_sha256", initial_adapter}};
}

std::string digest_of_adapter(const AdapterSet& adapters) {
  return sha256_hex(std::as_bytes(std::span(adapters.parameters(), adapters.parameter_count())));
}

}  // namespace evolora
