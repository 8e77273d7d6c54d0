// Did the trial do what its arm says? Judged from the engine's own counts in run.json (train/applied_record.h) and from what the parent knows by
// itself.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "measure/arm.h"
#include "measure/trial.h"

namespace evolora {

// What must be found, by the parent's own reading of the request and the model.
struct AppliedExpectation {
  std::string engine = "fused";
  nlohmann::ordered_json kernels;  // {slot: set} that the request names; slots that are not named are free; null: all free
  std::int64_t model_layers = 0;   // of the model's config.json; 0: not known
  std::int64_t adapted_layers = 0;
  bool quantized = false;  // at least one adapted linear must be quantized
};

// Errors: those of reading config.json and the recipe, and of compiling its kernel pack, which is done here.
Result<AppliedExpectation> expectation_of(FileSystem& files, const Arm& arm, const nlohmann::ordered_json& request);

// Nothing if run.json shows it; else "CODE: details", where the code is one of no_applied_record, candidate_not_applied or baseline_not_plain (the
// engine or the kernels of a slot are others, or served no block, or fewer than the engine's own list of fallbacks accounts for), layers_skipped (an
// adapted block has fewer backward calls than steps, its parameters are still those of the start, or fewer blocks are adapted), no_quantized_layers,
// no_updates.
std::optional<std::string> missing_proof(const AppliedExpectation& expected, const nlohmann::ordered_json& run, ArmRole role);

}  // namespace evolora
