// Call counts and names as JSON.
#include "train/applied_record.h"

#include <map>
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

std::string digest(const float* values, std::size_t count) { return sha256_hex(std::as_bytes(std::span(values, count))); }

std::int64_t moved_layers(const AdapterSet& adapters, const AdapterStart& start) {
  const std::vector<std::string> now = start_of(adapters).blocks;
  std::int64_t moved = 0;
  for (std::size_t i = 0; i < now.size() && i < start.blocks.size(); ++i) moved += now[i] != start.blocks[i] ? 1 : 0;
  return moved;
}

// What every engine's record ends with.
void add_run(Json& record, const AppliedRun& run) {
  const std::int64_t model_layers = run.weights.spec().num_layers;
  record["updates"] = run.updates;
  record["model_layers"] = model_layers;
  record["adapted_layers"] = model_layers - run.adapters.first_layer();
  record["moved_layers"] = moved_layers(run.adapters, run.start);
  record["adapted_linears"] = run.adapters.modules().size();
  record["quantized_linears"] = quantized_linears(run.weights, run.adapters);
  record["adapter_init_sha256"] = run.start.sha256;
}

}  // namespace

AdapterStart start_of(const AdapterSet& adapters) {
  AdapterStart start{digest(adapters.parameters(), adapters.parameter_count()), {}};
  // Digests of the modules' arrays, and of these the block's: an array need not be beside the next one of its block.
  std::map<std::int64_t, std::string> arrays;
  for (const AdapterModule& m : adapters.modules()) {
    std::string& block = arrays[m.layer];
    block += digest(adapters.parameters() + m.a_offset, static_cast<std::size_t>(m.in * m.rank));
    block += digest(adapters.parameters() + m.b_offset, static_cast<std::size_t>(m.rank * m.out));
    if (m.m_offset) block += digest(adapters.parameters() + *m.m_offset, static_cast<std::size_t>(m.out));
  }
  for (const auto& [layer, text] : arrays) {
    start.blocks.resize(static_cast<std::size_t>(layer) + 1);
    start.blocks.back() = sha256_hex(text);
  }
  return start;
}

Json applied_record(const CallCounts& counts, const Recipe& recipe, const AppliedRun& run) {
  Json kernels;
  Json calls;
  for (int i = 0; i < kSlotCount; ++i) {
    const auto slot = static_cast<Slot>(i);
    SlotKernels only = KernelSet::kCpu;
    for (int other = 0; other < kSlotCount; ++other) only.set(static_cast<Slot>(other), recipe.kernels.of(slot));
    kernels[slot_name(slot)] = select_kernels(only).name;  // the name that the table itself has
    if (slot == Slot::kLoraLinear && recipe.pack.library != nullptr) kernels[slot_name(slot)] = pack_service_name(*recipe.pack.library);
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
  Json record = {{"engine", "fused"}, {"kernels", kernels}, {"calls", calls}, {"layers", layers}};
  add_run(record, run);
  return record;
}

Json mlx_applied_record(const StepEngine& engine, const AppliedRun& run) {
  const Json about = engine.record();
  const Json counted = engine.calls();
  Json kernels;
  for (const char* slot : {"lora_linear", "swiglu", "head_loss"}) kernels[slot] = about.at("recipe").at(slot);
  if (about.contains("pack")) kernels["lora_linear"] = about.at("pack");
  Json record = {{"engine", "mlx"},
                 {"kernels", kernels},
                 {"served", counted.at("served")},
                 {"fallbacks", about.at("fallbacks")},
                 {"calls", counted.at("calls")},
                 {"layers", counted.at("layers")}};
  add_run(record, run);
  return record;
}

}  // namespace evolora
