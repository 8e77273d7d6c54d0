// From a TrainRequest to the MLX engine.
#include "train/mlx_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "train/optimizer.h"

namespace evolora {

Result<Recipe> mlx_run_recipe(const RecipeChoices& choices, const TrainRequest& request, TrainObserver& observer) {
  if (request.memory_limit_bytes != 0) {
    return Error{ErrorCode::kUnsupported, "memory_limit: MLX allocates as it goes, so no plan can promise it; leave it away, or use --engine fused"};
  }
  if (choices.recompute == Recompute::kMlp) {
    return Error{ErrorCode::kUnsupported,
                 "recompute: \"mlp\" is the fused engine's; for --engine mlx give \"block\", or the mlx field "
                 "{\"swiglu\": \"optimized\"}"};
  }
  std::vector<std::string> unheeded;
  if (choices.threads) unheeded.emplace_back("threads");
  if (choices.kernels) unheeded.emplace_back("kernels of the fused engine");
  if (choices.saved_activations) unheeded.emplace_back("saved_activations");
  if (choices.micro_batch_tokens.value_or(0) > 0) unheeded.emplace_back("micro_batch_tokens");
  if (choices.forward_arithmetic.value_or(Arithmetic::kFp32) != Arithmetic::kFp32) unheeded.emplace_back("forward_arithmetic");
  if (choices.backward_arithmetic.value_or(Arithmetic::kFp32) != Arithmetic::kFp32) unheeded.emplace_back("backward_arithmetic");
  if (choices.prefix_cache.value_or(PrefixCache::kOff) != PrefixCache::kOff) unheeded.emplace_back("prefix_cache");
  if (choices.share_prefixes.value_or(false)) unheeded.emplace_back("share_prefixes");
  if (choices.release_weights.value_or(false)) unheeded.emplace_back("weights");
  if (!unheeded.empty()) observer.on_warning(fmt::format("--engine mlx does not heed: {}", fmt::join(unheeded, ", ")));
  Recipe recipe;
  recipe.threads = 1;
  recipe.recompute = choices.recompute.value_or(Recompute::kNothing);
  recipe.head_rows_per_chunk = choices.head_rows_per_chunk.value_or(0);
  recipe.mlx = choices.mlx.value_or(standard_mlx_recipe());
  recipe.pack = choices.pack.value_or(PackChoice());
  return recipe;
}

Result<std::unique_ptr<StepEngine>> make_mlx_run_engine(const MlxModuleEntry& module, const TrainRequest& request, const Recipe& recipe,
                                                        const ModelWeights& weights, AdapterSet& adapters) {
  MlxEngineOptions options;
  options.device = request.device == "gpu" ? MlxDevice::kGpu : MlxDevice::kCpu;
  options.recipe = recipe.mlx;
  options.grad_checkpoint = recipe.recompute == Recompute::kBlock;
  options.head_rows_per_chunk = recipe.head_rows_per_chunk;
  options.max_input_tokens = request.max_seq_length - 1;
  options.pack_library = recipe.pack.mlx_library;
  options.pack_name = recipe.pack.mlx_name;
  if (request.train) options.adam = TRY(parse_optimizer(request.optimizer, request.optimizer_config));
  return module.make(options, weights, adapters);
}

void report_mlx_fallbacks(const StepEngine& engine, TrainObserver& observer) {
  const nlohmann::ordered_json record = engine.record();
  for (const auto& fallback : record.at("fallbacks")) {
    const auto layers = fallback.at("layers").get<std::vector<std::int64_t>>();
    observer.on_warning(
        fmt::format("{} (layer{} {})", fallback.at("reason").get<std::string>(), layers.size() == 1 ? "" : "s", fmt::join(layers, ", ")));
  }
}

}  // namespace evolora
