// Chooses the open fields of a recipe for a run: the fastest that fits the memory, or, without a limit, the smallest of the nearly fastest.
#pragma once

#include <cstddef>
#include <vector>

#include "base/result.h"
#include "engine/cost_model.h"
#include "engine/recipe.h"

namespace evolora {

// What a run will do. Batches are one pass over the data; all have supervised rows.
struct RunShape {
  std::vector<Batch> training;
  std::vector<Batch> evaluation;
  double epochs = 0;       // passes over the training batches
  double evaluations = 0;  // passes over the evaluation batches
  int threads = 1;
  std::size_t fixed_bytes = 0;  // resident memory beside weights and arena: program, data, adapters and optimizer
};

struct PlanLimits {
  std::size_t memory_bytes = 0;  // resident memory of the process; 0: no limit
  bool exact_storage = false;    // saved activations stay fp32 unless chosen otherwise: for comparisons at rounding level
};

struct PlannedRecipe {
  Recipe recipe;
  std::size_t arena_bytes = 0;     // estimated from the heaviest batches
  std::size_t resident_bytes = 0;  // expected peak
  double seconds = 0;              // on the nominal machine: only for comparing recipes
};

// Resident bytes of the weights while the recipe runs.
std::size_t resident_weight_bytes(const ModelWeights& weights, const Recipe& recipe);
// Seconds for the whole run.
double predicted_run_seconds(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, const RunShape& run, double peak_flops);

// The choice rests on a nominal machine, so that it is the same every time. kTooLarge if nothing fits, naming the least that would.
Result<PlannedRecipe> plan_recipe(const ModelWeights& weights, const AdapterSet& adapters, const RecipeChoices& choices, const RunShape& run,
                                  const PlanLimits& limits);

}  // namespace evolora
