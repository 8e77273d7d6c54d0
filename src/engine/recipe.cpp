// Field by field: what is chosen wins.
#include "engine/recipe.h"

#include <fmt/format.h>

namespace evolora {

Recipe with_choices(const Recipe& base, const RecipeChoices& choices) {
  return {.threads = choices.threads.value_or(base.threads),
          .kernels = choices.kernels.value_or(base.kernels),
          .pack = choices.pack.value_or(base.pack),
          .recompute = choices.recompute.value_or(base.recompute),
          .saved_activations = choices.saved_activations.value_or(base.saved_activations),
          .micro_batch_tokens = choices.micro_batch_tokens.value_or(base.micro_batch_tokens),
          .head_rows_per_chunk = choices.head_rows_per_chunk.value_or(base.head_rows_per_chunk),
          .prefix_cache = choices.prefix_cache.value_or(base.prefix_cache),
          .share_prefixes = choices.share_prefixes.value_or(base.share_prefixes),
          .forward_arithmetic = choices.forward_arithmetic.value_or(base.forward_arithmetic),
          .backward_arithmetic = choices.backward_arithmetic.value_or(base.backward_arithmetic),
          .mlx = choices.mlx.value_or(base.mlx),
          .release_weights = choices.release_weights.value_or(base.release_weights)};
}

RecipeChoices merge_choices(const RecipeChoices& stronger, const RecipeChoices& weaker) {
  const auto either = [](const auto& a, const auto& b) { return a ? a : b; };
  return {.threads = either(stronger.threads, weaker.threads),
          .kernels = either(stronger.kernels, weaker.kernels),
          .pack = either(stronger.pack, weaker.pack),
          .recompute = either(stronger.recompute, weaker.recompute),
          .saved_activations = either(stronger.saved_activations, weaker.saved_activations),
          .micro_batch_tokens = either(stronger.micro_batch_tokens, weaker.micro_batch_tokens),
          .head_rows_per_chunk = either(stronger.head_rows_per_chunk, weaker.head_rows_per_chunk),
          .prefix_cache = either(stronger.prefix_cache, weaker.prefix_cache),
          .share_prefixes = either(stronger.share_prefixes, weaker.share_prefixes),
          .forward_arithmetic = either(stronger.forward_arithmetic, weaker.forward_arithmetic),
          .backward_arithmetic = either(stronger.backward_arithmetic, weaker.backward_arithmetic),
          .release_weights = either(stronger.release_weights, weaker.release_weights),
          .mlx = either(stronger.mlx, weaker.mlx)};
}

Status check_pack_choice(const RecipeChoices& choices) {
  if (!choices.pack || choices.pack->library == nullptr) return {};
  const PackFunctions& pack = choices.pack->library->functions();
  const auto wrong = [&](const std::string& what) {
    return Error{ErrorCode::kUsage, fmt::format("pack {}: it serves lora_linear, {}; leave one of the two out", choices.pack->folder, what)};
  };
  if (choices.kernels && choices.kernels->of(Slot::kLoraLinear) == KernelSet::kReference) return wrong("and kernels asks for the reference there");
  const Arithmetic forward = choices.forward_arithmetic.value_or(Arithmetic::kFp32),
                   backward = choices.backward_arithmetic.value_or(Arithmetic::kFp32);
  if (pack.lora_linear_forward != nullptr && forward != Arithmetic::kFp32)
    return wrong(fmt::format("in fp32, and forward_arithmetic asks for {}", arithmetic_name(forward)));
  if (pack.lora_linear_backward != nullptr && backward != Arithmetic::kFp32)
    return wrong(fmt::format("in fp32, and backward_arithmetic asks for {}", arithmetic_name(backward)));
  return {};
}

}  // namespace evolora
