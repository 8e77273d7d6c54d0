// Proof of what a run really executed, for run.json: which engine, which kernels, how often each slot was called in each block, on which adapter it
// began. `evolora bench` refuses a trial whose record does not show what its arm promises, so every engine writes this block.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/program.h"
#include "engine/recipe.h"
#include "engine/step_engine.h"
#include "model/adapter.h"

namespace evolora {

// The adapter before the first step.
struct AdapterStart {
  std::string sha256;               // of all parameters, fp32 in the set's order
  std::vector<std::string> blocks;  // (L) of the parameters of each block; "" where it has none
};
AdapterStart start_of(const AdapterSet& adapters);

// What is known without the engine. Borrows.
struct AppliedRun {
  const ModelWeights& weights;
  const AdapterSet& adapters;  // as it is at the end
  const AdapterStart& start;
  std::int64_t updates = 0;
};

// {"engine": "fused", "kernels": {slot: "cpu" | "reference" | "pack:DIGEST"}, "calls": {slot: {"forward": n, "backward": n}}, "layers": [{slot:
// [forward, backward]}] (one per block), "updates": n, "model_layers", "adapted_layers", "moved_layers" (blocks whose parameters are not what they
// were), "adapted_linears", "quantized_linears" (of the adapted ones), "adapter_init_sha256"}. Calls include those of validation.
nlohmann::ordered_json applied_record(const CallCounts& counts, const Recipe& recipe, const AppliedRun& run);

// The same of the MLX engine: "engine": "mlx", "kernels": {slot: implementation that the recipe asks for}, "served": {slot: {implementation: adapted
// blocks that it really ran in}}, "fallbacks": [{"slot", "reason", "layers"}]; "calls" and "layers" count single linears, not groups. engine has
// calls().
nlohmann::ordered_json mlx_applied_record(const StepEngine& engine, const AppliedRun& run);

}  // namespace evolora
