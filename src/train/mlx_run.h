// The parts of a run that the MLX engine decides: its recipe, its construction, and what it says about slots that do not apply.
#pragma once

#include <memory>

#include "engine/recipe.h"
#include "train/mlx_module.h"
#include "train/observer.h"
#include "train/request.h"

namespace evolora {

// The recipe of an MLX run. Warns about decisions that were made and that this engine does not heed. Errors: kUnsupported for those without which the
// result would not be what was asked for (a memory limit, recomputing only the MLP).
Result<Recipe> mlx_run_recipe(const RecipeChoices& choices, const TrainRequest& request, TrainObserver& observer);

// Errors: those of parse_optimizer and make_mlx_engine.
Result<std::unique_ptr<StepEngine>> make_mlx_run_engine(const MlxModuleEntry& module, const TrainRequest& request, const Recipe& recipe,
                                                        const ModelWeights& weights, AdapterSet& adapters);

// One warning per reason, with the layers.
void report_mlx_fallbacks(const StepEngine& engine, TrainObserver& observer);

}  // namespace evolora
