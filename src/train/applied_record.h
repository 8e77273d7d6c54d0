// Proof of what a run really executed, for run.json: which engine, which kernels, how often each slot was called in each block, on which adapter it
// began. `evolora bench` refuses a trial whose record does not show what its arm promises, so every engine writes this block.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "engine/program.h"
#include "engine/recipe.h"
#include "model/adapter.h"

namespace evolora {

// {"engine": "fused", "kernels": {slot: "cpu" | "reference"}, "calls": {slot: {"forward": n, "backward": n}}, "layers": [{slot: [forward, backward]}]
// (one per block), "updates": n, "model_layers", "adapted_layers", "adapted_linears", "quantized_linears" (of the adapted ones),
// "adapter_init_sha256"}. Calls include those of validation. initial_adapter: digest_of_adapter before the first step.
nlohmann::ordered_json applied_record(const CallCounts& counts, const Recipe& recipe, const ModelWeights& weights, const AdapterSet& adapters,
                                      std::int64_t updates, const std::string& initial_adapter);

// SHA-256 of the parameters as they stand, fp32 in the set's order.
std::string digest_of_adapter(const AdapterSet& adapters);

}  // namespace evolora
