// `evolora evolve run`: plans a search of recipes, or takes up one that was stopped, and runs it to its confirmation.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "engine/recipe_json.h"
#include "evolve/proposers/proposers.h"
#include "evolve/recipe_judge.h"
#include "evolve/recipe_space.h"
#include "evolve/search.h"
#include "evolve_command.h"
#include "evolve_llm.h"
#include "interrupt.h"
#include "measure/machine_notes.h"
#include "terminal.h"
#include "train/request_keys.h"
#include "train/trainer.h"
#include "train_flags.h"
#include "trial_settings.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct EvolveArguments {
  std::string out = "evolve";
  std::string start = "default";
  std::string proposer = "evolution";
  std::string compare;
  std::string objective = "speed";
  std::int64_t budget_evaluations = 0;
  double budget_seconds = 0;
  std::int64_t seed = 0;
  std::int64_t islands = 2;
  std::int64_t stagnation = 0;
  double target = 0;
  std::int64_t pairs = 3;
  std::int64_t confirm_pairs = 10;
  std::int64_t finalists = 0;
  std::string memory_may_grow;
  std::string time_may_grow;
  std::string loss_margin = "1%";
  std::string progress_margin = "1%";
  LlmFlags llm;
  bool kernel_genes = false;
  bool resume = false;
  bool json = false;
};

// What the recipe decides, or would decide against it.
constexpr const char* kDecidedByRecipe[] = {"recipe", "threads", "kernels", "micro_batch_tokens", "grad_checkpoint", "memory_limit"};

Result<Json> training_settings(const TrainFlags& flags, FileSystem& files) {
  Json common = TRY(common_trial_settings(flags, files));
  for (const char* key : kDecidedByRecipe) {
    if (common.contains(key)) {
      return Error{ErrorCode::kUsage, fmt::format("{}: the search decides it; leave it out (a recipe to start from goes to --start)", key)};
    }
  }
  if (common.value("engine", Json("fused")) != "fused") return Error{ErrorCode::kUsage, "engine: expected fused, whose recipes are searched"};
  common.erase("engine");
  common.erase("seed");
  common.erase("resume");
  // Short trials, whose every step is reported: a search makes hundreds.
  if (!common.contains("iters") && !common.contains("epochs")) common["iters"] = 8;
  if (!common.contains("steps_per_report")) common["steps_per_report"] = 1;
  if (!common.contains("val_batches")) common["val_batches"] = 0;
  return common;
}

// What a run without a recipe would plan.
Result<Recipe> default_recipe(const Json& common, FileSystem& files) {
  std::vector<Setting> settings;
  for (const auto& [key, value] : common.items()) settings.push_back({key, value, key, "start: ", {}});
  TrainRequest request = TRY(build_train_request(settings, {}));
  request.train = true;
  TrainObserver silent;
  const TrainPlan plan = TRY(plan_training(request, files, silent));
  return plan.recipe;
}

Result<Recipe> start_recipe(const EvolveArguments& a, const Json& common, FileSystem& files) {
  if (a.start == "plain") return plain_recipe();
  const Recipe planned = TRY(default_recipe(common, files));
  if (a.start == "default") return planned;
  const RecipeChoices choices = TRY(read_recipe(files, a.start));
  return with_choices(planned, choices);
}

Result<std::vector<std::string>> proposers_of(const EvolveArguments& a) {
  std::vector<std::string> names;
  std::string rest = a.compare.empty() ? a.proposer : a.compare;
  for (std::size_t at = 0; at <= rest.size();) {
    const std::size_t end = std::min(rest.find(',', at), rest.size());
    names.push_back(rest.substr(at, end - at));
    if (names.back() != kLlmProposer) TRY(make_proposer(names.back()));
    if (std::count(names.begin(), names.end(), names.back()) > 1) {
      return Error{ErrorCode::kUsage, fmt::format("--compare: {} is named twice", names.back())};
    }
    at = end + 1;
  }
  return names;
}

Status check_range(const char* flag, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value >= low && value <= high) return {};
  return Error{ErrorCode::kUsage, fmt::format("{}: expected a whole number from {} to {}, got {}", flag, low, high, value)};
}

Result<RecipeJudgeSettings> judge_settings(const EvolveArguments& a, Json common, Objective objective, FileSystem& files) {
  RecipeJudgeSettings settings;
  settings.program = TRY(own_program());
  settings.objective = objective;
  settings.pairs = static_cast<std::size_t>(a.pairs);
  settings.confirm_pairs = static_cast<std::size_t>(a.confirm_pairs);
  constexpr double kFree = 0.5;      // of what is not the objective
  constexpr double kNoWorse = 0.02;  // of an objective
  settings.memory_may_grow = TRY(growth_of_flag("--memory-may-grow", a.memory_may_grow, objective == Objective::kSpeed ? kFree : kNoWorse));
  settings.time_may_grow = TRY(growth_of_flag("--time-may-grow", a.time_may_grow, objective == Objective::kMemory ? kFree : kNoWorse));
  settings.loss_margin = TRY(share_of_flag("--loss-margin", a.loss_margin));
  settings.progress_margin = TRY(share_of_flag("--progress-margin", a.progress_margin));
  settings.model_sha256 = TRY(digest_of_files(files, common["model"].get<std::string>()));
  settings.data_sha256 = TRY(digest_of_files(files, common["data"].get<std::string>()));
  settings.versions = {{"evolora", EVOLORA_VERSION}, {"compiler", __VERSION__}};
  settings.machine = machine_notes();
  settings.common = std::move(common);
  return settings;
}

struct PlannedSearch {
  SearchPlan plan;
  GeneSpace space;
};

GeneSpace space_of(const Json& judge) {
  return recipe_space(judge.value("max_threads", 1), judge.value("kernel_genes", false) ? KernelGenes::kSlots : KernelGenes::kNone);
}

Result<SearchPlan> make_plan(const EvolveArguments& a, const TrainFlags& flags, const std::optional<LlmInput>& llm, FileSystem& files) {
  TRY(check_range("--budget-evaluations", a.budget_evaluations, 0, 1000000));
  TRY(check_range("--islands", a.islands, 1, 100));
  TRY(check_range("--stagnation", a.stagnation, 0, 1000000));
  TRY(check_range("--pairs", a.pairs, 1, 100));
  TRY(check_range("--confirm-pairs", a.confirm_pairs, static_cast<std::int64_t>(kFewestPairs), 1000));
  TRY(check_range("--finalists", a.finalists, 0, 100));
  if (a.seed < 0) return Error{ErrorCode::kUsage, fmt::format("--seed: expected a whole number, 0 or more, got {}", a.seed)};
  if (!(a.budget_seconds >= 0 && a.budget_seconds <= 1e9)) {
    return Error{ErrorCode::kUsage, fmt::format("--budget-seconds: expected 0 to 1e9, got {}", a.budget_seconds)};
  }
  if (!(a.target >= 0 && a.target <= 1e6)) return Error{ErrorCode::kUsage, fmt::format("--target: expected a ratio such as 1.5, got {}", a.target)};
  SearchPlan plan;
  plan.seed = static_cast<std::uint64_t>(a.seed);
  plan.proposers = TRY(proposers_of(a));
  TRY(check_llm_proposer(llm, plan.proposers));
  if (llm) {
    plan.migration_every = static_cast<int>(llm->config.search.migration_interval.value_or(plan.migration_every));
    plan.explore = llm->config.search.explore.value_or(plan.explore);
  }
  plan.objective = TRY(objective_from(a.objective));
  constexpr std::int64_t kEvaluations = 60;  // when nothing else ends a run
  plan.budget.evaluations = a.budget_evaluations == 0 && a.budget_seconds == 0 ? kEvaluations : a.budget_evaluations;
  plan.budget.seconds = a.budget_seconds;
  plan.islands = static_cast<int>(a.islands);
  plan.stagnation = a.stagnation;
  if (a.target > 0) plan.target = a.target;
  plan.finalists = a.finalists > 0 ? static_cast<std::size_t>(a.finalists) : plan.proposers.size() > 1 ? 1 : 3;
  Json common = TRY(training_settings(flags, files));
  const Recipe start = TRY(start_recipe(a, common, files));
  RecipeJudgeSettings judge = TRY(judge_settings(a, std::move(common), plan.objective, files));
  const int max_threads = available_cpus();
  const GeneSpace space = recipe_space(max_threads, a.kernel_genes ? KernelGenes::kSlots : KernelGenes::kNone);
  plan.start.genome = TRY(genome_of(space, start));
  judge.baseline = recipe_json_of(plan.start.genome);
  plan.judge = recipe_judge_to_json(judge);
  plan.judge["max_threads"] = max_threads;
  plan.judge["kernel_genes"] = a.kernel_genes;
  plan.space = space_to_json(space);
  plan.versions = judge.versions;
  return plan;
}

class EvolvePrinter : public SearchObserver {
 public:
  explicit EvolvePrinter(const SearchPlan& plan) : plan_(plan) {}

  void on_run_start(int run, const RunState& state) override {
    fmt::print("{}{}\n", styled(Style::kBold, fmt::format("Run {}: {}", run, plan_.proposers[static_cast<std::size_t>(run)])),
               state.population.size() > 0 ? fmt::format(", going on after {} individuals", state.population.size()) : "");
    std::fflush(stdout);
  }

  void on_event(const SearchEvent& event, const RunState& state) override {
    if (event.kind == MeasurementKind::kConfirm) {
      fmt::print("  {}: speed {}, memory {}, {:.1f} s\n", word(event.judgement.outcome), ratio_text(event.judgement.log_speed),
                 ratio_text(event.judgement.log_memory), event.judgement.seconds);
    } else {
      const Individual& one = state.population.at(event.number);
      const bool leads = state.leader == one.number;
      const std::string what = event.kind == MeasurementKind::kAgain ? "again" : one.origin;
      const std::string result = one.judgement.outcome == Outcome::kScored
                                     ? fmt::format("speed {}, memory {}", ratio_text(one.judgement.log_speed), ratio_text(one.judgement.log_memory))
                                     : fmt::format("{} at {}: {}", word(one.judgement.outcome), one.judgement.gate, one.judgement.reason);
      fmt::print("{:>5}  {:<24} {}{}{}\n", one.number, what, result, leads ? styled(Style::kGreen, "  best") : "", left(state));
    }
    std::fflush(stdout);
  }

  void on_run_end(int /*run*/, const RunState& state) override { fmt::print("Ended: {}\n", state.ended); }

  void on_confirm_start(const Finalist& finalist, std::size_t index, std::size_t count) override {
    fmt::print("Confirming {} of {}: individual {} of {}\n", index + 1, count, finalist.number,
               plan_.proposers[static_cast<std::size_t>(finalist.run)]);
    std::fflush(stdout);
  }

 private:
  std::string left(const RunState& state) const {
    if (state.evaluations == 0) return "";
    const double each = state.seconds / static_cast<double>(state.evaluations);
    double seconds = 0;
    if (plan_.budget.evaluations > 0) seconds = each * static_cast<double>(plan_.budget.evaluations - state.evaluations);
    if (plan_.budget.seconds > 0) {
      const double rest = plan_.budget.seconds - state.seconds;
      seconds = seconds > 0 ? std::min(seconds, rest) : rest;
    }
    return seconds > 0 ? styled(Style::kDim, fmt::format("  {} left", human_duration(seconds))) : "";
  }

  const SearchPlan& plan_;
};

Result<Archive> open_archive(const EvolveArguments& a, const TrainFlags& flags, const std::optional<LlmInput>& llm, FileSystem& files) {
  const fs::path path = archive_path(a.out);
  if (a.resume) return Archive::open(path);
  if (files.exists(path)) {
    return Error{ErrorCode::kUsage, fmt::format("{} already holds a search: go on with --resume, or give another folder with --out", a.out)};
  }
  const SearchPlan plan = TRY(make_plan(a, flags, llm, files));
  TRY(files.create_directories(a.out));
  return Archive::create(path, search_plan_to_json(plan));
}

// What the configuration of language models says about the search, where no flag does.
void add_llm_settings(const CLI::App& given, const LlmSearchSettings& settings, EvolveArguments& a) {
  const auto take = [&](const char* flag, const std::optional<std::int64_t>& value, std::int64_t& out) {
    if (value && given.count(flag) == 0) out = *value;
  };
  take("--budget-evaluations", settings.evaluations, a.budget_evaluations);
  take("--seed", settings.seed, a.seed);
  take("--islands", settings.islands, a.islands);
  take("--stagnation", settings.stagnation, a.stagnation);
  if (given.count("--proposer") == 0) a.proposer = kLlmProposer;
}

Status run_evolve(EvolveArguments a, const TrainFlags& flags, const CLI::App& given) {
  FileSystem& files = real_file_system();
  std::optional<LlmInput> llm = TRY(take_llm_input(a.llm, files));
  if (llm) add_llm_settings(given, llm->config.search, a);
  Archive archive = TRY(open_archive(a, flags, llm, files));
  const std::string source = archive_path(a.out).string();
  const SearchPlan plan = TRY(search_plan_from_json(archive.plan(), source));
  const RecipeJudgeSettings settings = TRY(recipe_judge_from_json(plan.judge, source));
  const GeneSpace space = space_of(plan.judge);
  const std::unique_ptr<Judge> judge = TRY(make_recipe_judge(files, a.out, settings));
  TRY(check_llm_proposer(llm, plan.proposers));
  std::unique_ptr<LlmSession> session;
  if (llm) session = TRY(open_llm_session(std::move(*llm), plan.objective, files, a.out, stop_flag()));
  std::vector<std::unique_ptr<Proposer>> proposers;
  SearchParts parts{.space = &space, .judge = judge.get(), .archive = &archive, .stop = stop_flag()};
  for (const std::string& name : plan.proposers) {
    if (name == kLlmProposer) {
      parts.proposers.push_back(&session->proposer());
      continue;
    }
    proposers.push_back(TRY(make_proposer(name)));
    parts.proposers.push_back(proposers.back().get());
  }
  fmt::print("Start: {}\n", genome_text(plan.start.genome));
  EvolvePrinter printer(plan);
  parts.observer = &printer;
  const SearchState state = TRY(run_search(plan, parts));
  print_search_state(plan, state);
  const auto best = winner(plan, state);
  if (best) {
    const Individual& one = state.runs[static_cast<std::size_t>(best->run)].population.at(best->number);
    fmt::print("\n{}: {}\nWrite it with: evolora evolve best {} --export FOLDER\n", styled(Style::kGreen, "Better than the start"),
               genome_difference(plan.start.genome, one.candidate.genome), a.out);
  } else {
    fmt::print("\nNo candidate beat the baseline.\n");
  }
  if (a.json) fmt::print("{}\n", search_state_to_json(plan, state).dump(2));
  return {};
}

}  // namespace

Command add_evolve_run(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("run", "Searches for a recipe that trains the same faster or in less memory");
  auto flags = std::make_shared<TrainFlags>();
  auto a = std::make_shared<EvolveArguments>();
  add_value(*app, "--out", a->out, "Folder of the search [evolve]");
  add_value(*app, "--start", a->start, "What is improved and compared with: default (what train would plan), plain, or a recipe file [default]");
  add_value(*app, "--proposer", a->proposer, "evolution, tpe, hill, random, or llm [evolution; llm with --llm]");
  add_value(*app, "--compare", a->compare, "Several proposers, such as random,evolution: a search each with the same budget");
  add_value(*app, "--objective", a->objective, "speed, memory, or both as a Pareto front [speed]");
  add_value(*app, "--budget-evaluations", a->budget_evaluations, "Evaluations of each search; 0: no limit [60 without --budget-seconds]");
  add_value(*app, "--budget-seconds", a->budget_seconds, "Seconds of judging of each search; 0: no limit [0]");
  add_value(*app, "--stagnation", a->stagnation, "End a search after this many evaluations without a new best; 0: never [0]");
  add_value(*app, "--target", a->target, "End a search when the best is surely this many times as good, such as 1.5 [none]");
  add_value(*app, "--seed", a->seed, "Seed of everything random [0]");
  add_value(*app, "--islands", a->islands, "Populations that exchange their best now and then [2]");
  add_value(*app, "--pairs", a->pairs, "Pairs of trainings in which a candidate is judged [3]");
  add_value(*app, "--confirm-pairs", a->confirm_pairs, "Pairs in which a finalist is confirmed on held-out data [10]");
  add_value(*app, "--finalists", a->finalists, "Best of each search that are confirmed [3; 1 with --compare]");
  add_value(*app, "--memory-may-grow", a->memory_may_grow, "Memory that a faster recipe may cost [50%; 2% when memory counts]");
  add_value(*app, "--time-may-grow", a->time_may_grow, "Time that a smaller recipe may cost [50%; 2% when speed counts]");
  add_value(*app, "--loss-margin", a->loss_margin, "Final losses must be equal within this [1%]");
  add_value(*app, "--progress-margin", a->progress_margin, "How far the loss falls must be equal within this [1%]");
  add_llm_flags(*app, a->llm);
  app->add_flag("--kernel-genes", a->kernel_genes, "Search the reference kernels too: slow, for trying out the search");
  app->add_flag("--resume", a->resume, "Go on with the search in --out, by its own plan");
  app->add_flag("--json", a->json, "The result as JSON as well, last");
  add_train_flags(*app, flags);
  return {app, [flags, a, app] { return run_evolve(*a, *flags, *app); }, {}};
}

}  // namespace evolora
