// The plan of a search of kernel source: the pack, the shapes it is timed on, and the training around it.
#include <fmt/format.h>

#include <algorithm>

#include "base/threads.h"
#include "evolve/judge/microbenchmark.h"
#include "evolve/judge/problem_shapes.h"
#include "evolve/pack/pack_candidate.h"
#include "evolve/pack_judge.h"
#include "evolve/recipe_space.h"
#include "evolve/sandbox/worker_protocol.h"
#include "evolve_plan.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// Tokens of a timed call: a batch's rows in a search, others in a confirmation, no multiple of the tiles that packs have.
constexpr std::int64_t kRows = 256;
constexpr std::int64_t kHeldOutRows = 201;

// Every training setting that was given, by flag or file; flags go before.
Result<Json> given_settings(const TrainFlags& flags, FileSystem& files) {
  const GivenSettings given = TRY(settings_from_flags(flags, files));
  Json out = Json::object();
  for (const auto* list : {&given.yaml, &given.flags}) {
    for (const Setting& setting : *list) out[setting.key] = setting.value;
  }
  return out;
}

Status check_useful(const Json& given) {
  for (const auto& [key, value] : given.items()) {
    if (key != "threads")
      return Error{ErrorCode::kUsage, fmt::format("{}: nothing is trained with --kernels-only, so it would do nothing without --model", key)};
  }
  return {};
}

std::int64_t rank_of(const Json& common) {
  constexpr std::int64_t kDefault = 8;  // mlx-lm's
  const Json block = common.value("lora_parameters", Json::object());
  const Json rank = block.is_object() ? block.value("rank", Json()) : Json();
  return rank.is_number_integer() && rank > 0 ? rank.get<std::int64_t>() : kDefault;
}

Status set_training(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, const SearchPlan& plan, PackJudgeSettings& judge) {
  Json common = TRY(judged_training_settings(flags, files, {"threads"}));
  const GeneSpace space = recipe_space(available_cpus(), KernelGenes::kNone);
  const Genome recipe = TRY(start_genome(a, common, files, space));
  common.erase("threads");  // the recipe has them
  RecipeJudgeSettings training = TRY(training_judge_settings(a, std::move(common), plan.objective, files));
  training.baseline = recipe_json_of(recipe);
  training.baseline.erase("kernels");  // the pack takes the place of some
  judge.training = std::move(training);
  return {};
}

}  // namespace

Status plan_pack_search(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, SearchPlan& plan) {
  if (plan.objective != Objective::kSpeed) {
    return Error{ErrorCode::kUsage, fmt::format("--objective: expected speed, which is what kernels are timed for, got {}", word(plan.objective))};
  }
  if (a.kernel_genes) return Error{ErrorCode::kUsage, "--kernel-genes: a search of a kernel pack has the pack's parameters; leave it out"};
  const KernelPack pack = TRY(read_pack(files, a.pack));
  if (pack.manifest.target != PackTarget::kCpu) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--pack: {} is for {}: evolve run searches packs for cpu; evolora judge judges one program of the others", a.pack,
                             word(pack.manifest.target))};
  }
  plan.start = TRY(start_of_pack(pack));
  const bool only_offline = std::find(plan.proposers.begin(), plan.proposers.end(), kLlmProposer) == plan.proposers.end();
  if (only_offline && plan.start.genome.empty()) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: it declares no parameters (lines such as 'constexpr int kRows = 6;  // evolve: int 1..12' in a block), so there is "
                             "nothing that could be tuned; declare some, or ask a language model with --llm",
                             a.pack)};
  }
  PackJudgeSettings judge{.manifest = pack.manifest, .shapes = smollm2_shapes(kRows), .held_out_shapes = smollm2_shapes(kHeldOutRows)};
  if (a.pairs > 0) judge.pairs = static_cast<int>(a.pairs);
  const Json given = TRY(given_settings(flags, files));
  if (given.contains("threads")) {
    const Json& threads = given["threads"];
    if (!threads.is_number_integer() || threads < 0 || threads > kWorkerMaxThreads) {
      return Error{ErrorCode::kUsage, fmt::format("--threads: expected 0 to {}, got {}", kWorkerMaxThreads, threads.dump())};
    }
    judge.threads = threads == 0 ? std::min(available_cpus(), kWorkerMaxThreads) : threads.get<int>();
  }
  if (given.contains("model") && given["model"].is_string()) {
    const fs::path model = given["model"].get<std::string>();
    judge.shapes = TRY(shapes_of_model(files, model, rank_of(given), kRows));
    judge.held_out_shapes = TRY(shapes_of_model(files, model, rank_of(given), kHeldOutRows));
  } else if (a.kernels_only) {
    TRY(check_useful(given));
  } else {
    return Error{ErrorCode::kUsage,
                 "--model is missing: finalists are trained with, on --model and --data; with --kernels-only they are not, and the shapes that are "
                 "timed are those of SmolLM2-135M"};
  }
  if (!a.kernels_only) TRY(set_training(a, flags, files, plan, judge));
  // The leader is measured twice before it counts as such, in processes of their own.
  plan.settled = static_cast<std::size_t>(2 * judge.pairs);
  plan.judge = pack_judge_to_json(judge);
  plan.space = space_to_json(TRY(genes_of_program(plan.start)));
  return {};
}

}  // namespace evolora
