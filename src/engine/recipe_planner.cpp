// Enumerates all sensible recipes (a few dozen), prices each by the cost model and by an exact arena plan of the heaviest batches, and picks.
#include "engine/recipe_planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <numeric>

#include "engine/batch_split.h"
#include "engine/step_program.h"
#include "engine/training_engine.h"

namespace evolora {
namespace {

// Slower by less than this is as fast: then memory decides.
constexpr double kAsFast = 1.03;
// Operations per second of a thread: an AVX-512 core at an ordinary clock.
constexpr double kNominalPeak = 1.2e11;
// Batches that stand for all when time is predicted.
constexpr std::size_t kSampledBatches = 24;
// Hidden states of more than this are not worth a file by themselves.
constexpr double kLargestPrefixBytes = 8e9;

using Measure = std::function<std::int64_t(const Batch&)>;

std::int64_t longest_segment(const Batch& batch) {
  std::int64_t longest = 0;
  for (std::size_t s = 0; s + 1 < batch.segment_starts.size(); ++s) {
    longest = std::max<std::int64_t>(longest, batch.segment_starts[s + 1] - batch.segment_starts[s]);
  }
  return longest;
}

// Whether the samples of any of the batches begin alike.
bool any_shared(const RunShape& run) {
  const auto shared = [](const Batch& batch) { return common_prefix(batch) > 0; };
  return std::any_of(run.training.begin(), run.training.end(), shared) || std::any_of(run.evaluation.begin(), run.evaluation.end(), shared);
}

// The batches that decide the arena: the first few by tokens (with and without what is shared), by supervised rows, by both and by the longest
// segment.
std::vector<const Batch*> heaviest(const std::vector<Batch>& batches) {
  constexpr std::size_t kOfEach = 3;
  std::vector<const Batch*> chosen;
  const auto computed_tokens = [](const Batch& batch) { return batch.token_count() - common_prefix(batch) * (batch.segment_count() - 1); };
  const auto both = [&](const Batch& batch) { return computed_tokens(batch) + batch.supervised_count(); };
  for (const Measure& measure :
       {Measure(&Batch::token_count), Measure(computed_tokens), Measure(&Batch::supervised_count), Measure(both), Measure(&longest_segment)}) {
    std::vector<const Batch*> order;
    for (const Batch& batch : batches) order.push_back(&batch);
    std::map<const Batch*, std::int64_t> size;
    for (const Batch* batch : order) size[batch] = measure(*batch);
    std::stable_sort(order.begin(), order.end(), [&](const Batch* a, const Batch* b) { return size[a] > size[b]; });
    for (std::size_t i = 0; i < std::min(kOfEach, order.size()); ++i) {
      if (std::find(chosen.begin(), chosen.end(), order[i]) == chosen.end()) chosen.push_back(order[i]);
    }
  }
  return chosen;
}

double total_tokens(const std::vector<Batch>& batches) {
  return std::accumulate(batches.begin(), batches.end(), 0.0, [](double sum, const Batch& b) { return sum + static_cast<double>(b.token_count()); });
}

PrefixCache choose_prefix_cache(const ModelWeights& weights, const AdapterSet& adapters, const RunShape& run) {
  const bool comes_again = run.epochs > 1 || run.evaluations > 1;
  if (adapters.first_layer() == 0 || !comes_again) return PrefixCache::kOff;
  const double bytes = (total_tokens(run.training) + total_tokens(run.evaluation)) * static_cast<double>(weights.spec().hidden_size) * sizeof(float);
  return bytes <= kLargestPrefixBytes ? PrefixCache::kFile : PrefixCache::kOff;
}

template <typename T>
std::vector<T> options(const std::optional<T>& choice, std::vector<T> open) {
  return choice ? std::vector<T>{*choice} : open;
}

std::vector<Recipe> candidates(const ModelWeights& weights, const AdapterSet& adapters, const RecipeChoices& choices, const RunShape& run,
                               const PlanLimits& limits) {
  Recipe base = with_choices({}, choices);
  if (!choices.prefix_cache) base.prefix_cache = choose_prefix_cache(weights, adapters, run);
  std::int64_t largest = 0;
  for (const std::vector<Batch>* batches : {&run.training, &run.evaluation}) {
    for (const Batch& batch : *batches) largest = std::max(largest, batch.token_count());
  }
  std::vector<std::int64_t> splits = {0};
  for (const std::int64_t tokens : {4096, 2048, 1024, 512, 256, 1}) {
    if (tokens < largest) splits.push_back(tokens);
  }
  const std::int64_t chunk = head_rows_per_chunk({}, weights.spec());
  std::vector<bool> shares = {false};
  if (shares_prefixes({.share_prefixes = true}, adapters) && any_shared(run)) shares = {true, false};
  std::vector<StorageType> storage = {StorageType::kFp32};
  if (!limits.exact_storage) storage.push_back(StorageType::kBf16);

  std::vector<Recipe> recipes;
  for (const std::int64_t split : options(choices.micro_batch_tokens, splits)) {
    for (const Recompute recompute : options(choices.recompute, {Recompute::kNothing, Recompute::kMlp, Recompute::kBlock})) {
      for (const StorageType stored : options(choices.saved_activations, storage)) {
        for (const std::int64_t rows :
             options<std::int64_t>(choices.head_rows_per_chunk, {chunk, 2 * chunk, 4 * chunk, std::max<std::int64_t>(8, chunk / 4)})) {
          for (const bool release : options(choices.release_weights, {false, true})) {
            for (const bool share : options(choices.share_prefixes, shares)) {
              Recipe recipe = base;
              recipe.micro_batch_tokens = split;
              recipe.recompute = recompute;
              recipe.saved_activations = stored;
              recipe.head_rows_per_chunk = rows;
              recipe.release_weights = release;
              recipe.share_prefixes = share;
              recipes.push_back(recipe);
            }
          }
        }
      }
    }
  }
  return recipes;
}

}  // namespace

std::size_t resident_weight_bytes(const ModelWeights& weights, const Recipe& recipe) {
  if (!recipe.release_weights) return weights.stored_bytes();
  // The head stays for all chunks of a batch; of a block, one group of linears. A page fault maps the 64 KB around it, so every linear's use brings
  // back ends of neighbours that were released already: half a window each on average.
  constexpr std::size_t kHalfWindowBytes = 32 << 10;
  const std::size_t ends = static_cast<std::size_t>(weights.spec().num_layers * kProjectionCount) * kHalfWindowBytes;
  return std::min(weights.stored_bytes(), std::max(stored_bytes_of(weights.head()), 2 * weights.largest_linear_bytes()) + ends);
}

double predicted_run_seconds(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, const RunShape& run, double peak_flops) {
  const auto pass_seconds = [&](const std::vector<Batch>& batches, bool training, bool prefix_loaded) {
    StepCost cost;
    double released = 0;
    double sampled = 0;
    const std::size_t stride = 1 + batches.size() / kSampledBatches;
    for (std::size_t i = 0; i < batches.size(); i += stride) {
      const Batch& batch = batches[i];
      sampled += static_cast<double>(batch.token_count());
      for (const Batch& piece : split_batch(batch, recipe.micro_batch_tokens, shares_prefixes(recipe, adapters))) {
        cost += cost_of_pass(weights, adapters, recipe, piece, training, prefix_loaded);
        released += (training ? 2.0 : 1.0) * static_cast<double>(weights.stored_bytes());
        // Few rows of logits at a time decode the head again for each of them.
        const auto rows = static_cast<double>(std::max<std::int64_t>(1, head_rows_per_chunk(recipe, weights.spec())));
        const double chunks = std::ceil(static_cast<double>(piece.supervised_count()) / rows);
        cost.decoded_weights += (training ? 2 : 1) * chunks * static_cast<double>(weights.spec().vocab_size * weights.spec().hidden_size);
      }
    }
    // Page faults on cached pages, 16 pages each; measured 4.2 GB a second and thread. Every thread maps what it decodes.
    const double map_bytes_per_second = 4e9 * run.threads;
    const double seconds = predicted_seconds(cost, recipe, peak_flops) + (recipe.release_weights ? released / map_bytes_per_second : 0);
    return seconds * total_tokens(batches) / sampled;
  };
  const auto passes_seconds = [&](const std::vector<Batch>& batches, double passes, bool training) {
    if (batches.empty() || passes <= 0) return 0.0;
    const double first = std::min(passes, 1.0) * pass_seconds(batches, training, false);
    if (passes <= 1) return first;
    return first + (passes - 1) * pass_seconds(batches, training, recipe.prefix_cache != PrefixCache::kOff);
  };
  return passes_seconds(run.training, run.epochs, true) + passes_seconds(run.evaluation, run.evaluations, false);
}

Result<PlannedRecipe> plan_recipe(const ModelWeights& weights, const AdapterSet& adapters, const RecipeChoices& choices, const RunShape& run,
                                  const PlanLimits& limits) {
  const double peak_flops = kNominalPeak * run.threads;
  const std::vector<const Batch*> training = heaviest(run.training);
  const std::vector<const Batch*> evaluation = heaviest(run.evaluation);
  std::vector<PlannedRecipe> plans;
  for (const Recipe& recipe : candidates(weights, adapters, choices, run, limits)) {
    PlannedRecipe plan{.recipe = recipe};
    plan.seconds = predicted_run_seconds(weights, adapters, recipe, run, peak_flops);
    plans.push_back(plan);
  }
  std::stable_sort(plans.begin(), plans.end(), [](const PlannedRecipe& a, const PlannedRecipe& b) { return a.seconds < b.seconds; });
  // Whether the plan needs less than `below`; only then its figures are complete. The heaviest batch comes first and usually decides.
  const auto needs_less = [&](PlannedRecipe& plan, std::size_t below) {
    ArenaPlanner planner(weights, adapters, plan.recipe, run.threads, plan.recipe.prefix_cache != PrefixCache::kOff);
    std::size_t others = run.fixed_bytes + resident_weight_bytes(weights, plan.recipe);
    if (plan.recipe.prefix_cache == PrefixCache::kMemory) {
      others += static_cast<std::size_t>((total_tokens(run.training) + total_tokens(run.evaluation)) *
                                         static_cast<double>(weights.spec().hidden_size) * sizeof(float));
    }
    for (const std::vector<const Batch*>* batches : {&training, &evaluation}) {
      for (const Batch* batch : *batches) {
        planner.add(*batch, batches == &training);
        if (others + planner.arena_bytes() >= below) return false;
      }
    }
    plan.arena_bytes = planner.arena_bytes();
    plan.resident_bytes = others + plan.arena_bytes;
    return true;
  };
  const auto smallest = [&](double slowest) {
    const PlannedRecipe* best = nullptr;
    for (PlannedRecipe& plan : plans) {
      if (plan.seconds > slowest) break;
      if (needs_less(plan, best == nullptr ? SIZE_MAX : best->resident_bytes)) best = &plan;
    }
    return *best;
  };
  if (limits.memory_bytes == 0) return smallest(kAsFast * plans.front().seconds);
  for (PlannedRecipe& plan : plans) {
    if (needs_less(plan, std::min(limits.memory_bytes, SIZE_MAX - 1) + 1)) return plan;
  }
  const std::size_t least = smallest(HUGE_VAL).resident_bytes;
  constexpr double kMega = 1e6;
  return Error{ErrorCode::kTooLarge,
               fmt::format("the run does not fit into {:.0f} MB: with every saving it needs {:.0f} MB; give more, or use a lower --max-seq-length, "
                           "fewer --num-layers or a lower rank",
                           static_cast<double>(limits.memory_bytes) / kMega, std::ceil(static_cast<double>(least) / kMega))};
}

}  // namespace evolora
