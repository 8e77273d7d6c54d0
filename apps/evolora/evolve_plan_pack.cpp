// The plan of a search of kernel source: the pack, the shapes it is timed on, and the training around it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/threads.h"
#include "evolve/judge/microbenchmark.h"
#include "evolve/judge/mlx/mlx_problem_shapes.h"
#include "evolve/judge/mlx/mlx_source_judge.h"
#include "evolve/judge/problem_shapes.h"
#include "evolve/pack/pack_candidate.h"
#include "evolve/pack_judge.h"
#include "evolve/recipe_space.h"
#include "evolve/sandbox/worker_protocol.h"
#include "evolve_plan.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// Tokens of a measured call: a batch's rows in a search, others in a confirmation, of the usual number no multiple of the tiles that packs have.
struct Rows {
  std::int64_t search, held_out;
};
Rows rows_of(const EvolveArguments& a) {
  constexpr std::int64_t kUsual = 256, kUsualHeldOut = 201;
  const std::int64_t rows = a.rows > 0 ? a.rows : kUsual;
  return {rows, std::max<std::int64_t>(1, rows * kUsualHeldOut / kUsual)};
}

// Every training setting that was given, by flag or file; flags go before.
Result<Json> given_settings(const TrainFlags& flags, FileSystem& files) {
  const GivenSettings given = TRY(settings_from_flags(flags, files));
  Json out = Json::object();
  for (const auto* list : {&given.yaml, &given.flags}) {
    for (const Setting& setting : *list) out[setting.key] = setting.value;
  }
  return out;
}

// Without a model nothing is trained, and only `useful` keys would do anything.
Status check_useful(const Json& given, const std::vector<std::string>& useful) {
  for (const auto& [key, value] : given.items()) {
    if (std::find(useful.begin(), useful.end(), key) == useful.end())
      return Error{ErrorCode::kUsage, fmt::format("{}: nothing is trained with --kernels-only, so it would do nothing without --model", key)};
  }
  return {};
}

// The model whose linears are timed; nothing: SmolLM2-135M's.
Result<std::optional<fs::path>> timed_model(const EvolveArguments& a, const Json& given, const std::vector<std::string>& useful) {
  if (given.contains("model") && given["model"].is_string()) return std::optional<fs::path>(given["model"].get<std::string>());
  if (!a.kernels_only) {
    return Error{ErrorCode::kUsage,
                 "--model is missing: finalists are trained with, on --model and --data; with --kernels-only they are not, and the shapes that are "
                 "timed are those of SmolLM2-135M"};
  }
  TRY(check_useful(given, useful));
  return std::optional<fs::path>();
}

std::int64_t rank_of(const Json& common) {
  constexpr std::int64_t kDefault = 8;  // mlx-lm's
  const Json block = common.value("lora_parameters", Json::object());
  const Json rank = block.is_object() ? block.value("rank", Json()) : Json();
  return rank.is_number_integer() && rank > 0 ? rank.get<std::int64_t>() : kDefault;
}

Result<RecipeJudgeSettings> cpu_training(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, Objective objective) {
  Json common = TRY(judged_training_settings(flags, files, "fused", {"threads"}));
  const GeneSpace space = recipe_space(available_cpus(), KernelGenes::kNone);
  const Genome recipe = TRY(start_genome(a, common, files, space));
  common.erase("threads");  // the recipe has them
  RecipeJudgeSettings training = TRY(training_judge_settings(a, std::move(common), objective, files));
  training.baseline = recipe_json_of(recipe);
  training.baseline.erase("kernels");  // the pack takes the place of some
  return training;
}

Status plan_cpu_pack(const EvolveArguments& a, const TrainFlags& flags, const Json& given, FileSystem& files, PackJudgeSettings& judge) {
  if (judge.objective != Objective::kSpeed) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--objective: expected speed, which is what kernels for cpu are timed for, got {}", word(judge.objective))};
  }
  if (given.contains("threads")) {
    const Json& threads = given["threads"];
    if (!threads.is_number_integer() || threads < 0 || threads > kWorkerMaxThreads) {
      return Error{ErrorCode::kUsage, fmt::format("--threads: expected 0 to {}, got {}", kWorkerMaxThreads, threads.dump())};
    }
    judge.threads = threads == 0 ? std::min(available_cpus(), kWorkerMaxThreads) : threads.get<int>();
  }
  const Rows rows = rows_of(a);
  const auto model = TRY(timed_model(a, given, {"threads"}));
  for (const auto& [shapes, count] : {std::pair(&judge.shapes, rows.search), {&judge.held_out_shapes, rows.held_out}}) {
    *shapes = model ? TRY(shapes_of_model(files, *model, rank_of(given), count)) : smollm2_shapes(count);
  }
  if (!a.kernels_only) judge.training = TRY(cpu_training(a, flags, files, judge.objective));
  return {};
}

// Settings that a training with a pack for mlx cannot have, or that the pack decides.
Status check_mlx_settings(const EvolveArguments& a, const Json& given, const PackManifest& manifest) {
  const auto wrong = [](const std::string& what) { return Error{ErrorCode::kUsage, what}; };
  if (a.start != "default")
    return wrong(fmt::format("--start: a pack for mlx is trained with in mlx-lm's own recipe; leave it out, got {}", a.start));
  if (given.contains("threads")) return wrong("threads: MLX decides how many it uses; leave it out");
  if (given.value("device", Json("cpu")) != "cpu") {
    return wrong(fmt::format("device: expected cpu: drivers of others need more than the sandbox gives, got {}", given["device"].dump()));
  }
  if (const Json type = given.value("fine_tune_type", Json()); type.is_string()) {
    if (!manifest.serves(type.get<std::string>() + "_linear")) {
      return wrong(
          fmt::format("fine_tune_type: the pack's slots decide it ({}), got {}", fmt::join(manifest.slots, " and "), type.get<std::string>()));
    }
  }
  const Json block = given.value("lora_parameters", Json::object());
  const Json dropout = block.is_object() ? block.value("dropout", Json(0)) : Json(0);
  if (dropout.is_number() && dropout != 0) {
    return wrong(fmt::format("lora_parameters.dropout: packs for mlx serve linears without dropout: expected 0, got {}", dropout.dump()));
  }
  return {};
}

Status plan_mlx_pack(const EvolveArguments& a, const TrainFlags& flags, const Json& given, FileSystem& files, PackJudgeSettings& judge) {
  const PackManifest& manifest = judge.manifest;
  const Rows rows = rows_of(a);
  judge.pairs = MlxSourceJudgeOptions{}.pairs;
  TRY(check_mlx_settings(a, given, manifest));
  const auto model = TRY(timed_model(a, given, {}));
  for (const auto& [shapes, count] : {std::pair(&judge.mlx_shapes, rows.search), {&judge.mlx_held_out_shapes, rows.held_out}}) {
    *shapes = model ? TRY(mlx_shapes_of_model(files, *model, manifest, rank_of(given), count)) : mlx_shapes(manifest, rank_of(given), count);
  }
  if (a.kernels_only) return {};
  Json common = TRY(judged_training_settings(flags, files, "mlx", {}));
  common.erase("fine_tune_type");
  judge.training = TRY(training_judge_settings(a, std::move(common), judge.objective, files));
  return {};
}

}  // namespace

Status plan_pack_search(const EvolveArguments& a, const TrainFlags& flags, FileSystem& files, SearchPlan& plan) {
  if (a.keep_arithmetic) return Error{ErrorCode::kUsage, "--keep-arithmetic: expected a search of recipes; leave it out with --pack"};
  if (a.max_confirm_pairs != 0) {
    return Error{ErrorCode::kUsage, "--max-confirm-pairs: a pack is confirmed in --confirm-pairs pairs of trainings; leave it out"};
  }
  if (a.kernel_genes) return Error{ErrorCode::kUsage, "--kernel-genes: a search of a kernel pack has the pack's parameters; leave it out"};
  const KernelPack pack = TRY(read_pack(files, a.pack));
  const PackTarget target = pack.manifest.target;
  if (a.objective.empty()) plan.objective = usual_objective(target);
  plan.start = TRY(start_of_pack(pack));
  const bool only_offline = std::find(plan.proposers.begin(), plan.proposers.end(), kLlmProposer) == plan.proposers.end();
  if (only_offline && plan.start.genome.empty()) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: it declares no parameters (lines such as 'constexpr int kRows = 6;  // evolve: int 1..12' in a block), so there is "
                             "nothing that could be tuned; declare some, or ask a language model with --llm",
                             a.pack)};
  }
  PackJudgeSettings judge{.manifest = pack.manifest, .objective = plan.objective, .limits = TRY(growth_limits(a, plan.objective))};
  const Json given = TRY(given_settings(flags, files));
  TRY(target == PackTarget::kMlx ? plan_mlx_pack(a, flags, given, files, judge) : plan_cpu_pack(a, flags, given, files, judge));
  if (a.pairs > 0) judge.pairs = static_cast<int>(a.pairs);
  // The leader is measured twice before it counts as such, in processes of their own.
  plan.settled = static_cast<std::size_t>(2 * judge.pairs);
  plan.judge = pack_judge_to_json(judge);
  plan.space = space_to_json(TRY(genes_of_program(plan.start)));
  return {};
}

}  // namespace evolora
