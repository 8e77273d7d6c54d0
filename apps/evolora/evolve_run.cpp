// `evolora evolve run`: plans a search, or takes up one that was stopped, and runs it to its confirmation.
#include <fmt/format.h>

#include "evolve/search.h"
#include "evolve/search_subject.h"
#include "evolve_command.h"
#include "evolve_llm.h"
#include "evolve_plan.h"
#include "evolve_printer.h"
#include "interrupt.h"
#include "terminal.h"
#include "train_flags.h"

namespace evolora {
namespace {

Result<SearchPlan> new_plan(const EvolveArguments& a, const TrainFlags& flags, const std::optional<LlmInput>& llm, FileSystem& files) {
  if (!files.exists(archive_path(a.out))) return make_search_plan(a, flags, llm, files);
  return Error{ErrorCode::kUsage, fmt::format("{} already holds a search: go on with --resume, or give another folder with --out", a.out)};
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
  if (a.unsafe_no_sandbox) fmt::print(stderr, "evolora: --unsafe-no-sandbox: candidates run with all rights of yours\n");
  const fs::path path = archive_path(a.out);
  std::optional<Archive> archive;
  if (a.resume) archive = TRY(Archive::open(path));
  const SearchPlan plan = TRY(archive ? search_plan_from_json(archive->plan(), path.string()) : new_plan(a, flags, llm, files));
  TRY(check_llm_proposer(llm, plan.proposers));
  const Isolation isolation = a.unsafe_no_sandbox ? Isolation::kNone : Isolation::kSandbox;
  // Before there is an archive: a pack that does not compile, or too little data, is no search yet.
  const SearchSubject subject = TRY(subject_of(files, a.out, plan, path.string(), isolation, stop_flag()));
  TRY(files.create_directories(a.out));
  if (!archive) archive = TRY(Archive::create(path, search_plan_to_json(plan)));
  std::unique_ptr<LlmSession> session;
  if (llm) session = TRY(open_llm_session(std::move(*llm), plan, subject.agree, files, a.out, stop_flag()));
  const PlanProposers proposers = TRY(make_proposers(plan, session.get()));
  SearchParts parts{.space = &subject.space,
                    .genes_of = subject.genes_of,
                    .program_digest = subject.program_digest,
                    .proposers = proposers.all,
                    .judge = subject.judge.get(),
                    .archive = &*archive,
                    .stop = stop_flag()};
  fmt::print("Start: {}\n", genome_text(plan.start.genome));
  const std::unique_ptr<SearchObserver> printer = make_search_printer(plan);
  parts.observer = printer.get();
  const SearchState state = TRY(run_search(plan, parts));
  print_search_state(plan, state);
  const auto best = winner(plan, state);
  if (best) {
    const Individual& one = state.runs[static_cast<std::size_t>(best->run)].population.at(best->number);
    fmt::print("\n{}: {}\nWrite it with: evolora evolve best {} --export FOLDER\n", styled(Style::kGreen, "Better than the start"),
               candidate_difference(plan.start, one.candidate), a.out);
  } else {
    fmt::print("\nNo candidate beat the baseline.\n");
  }
  if (a.json) fmt::print("{}\n", search_state_to_json(plan, state).dump(2));
  return {};
}

}  // namespace

Command add_evolve_run(CLI::App& evolve) {
  CLI::App* app = evolve.add_subcommand("run", "Searches for a recipe that trains the same faster or in less memory, or for a faster kernel");
  auto flags = std::make_shared<TrainFlags>();
  auto a = std::make_shared<EvolveArguments>();
  add_value(*app, "--out", a->out, "Folder of the search [evolve]");
  add_value(*app, "--pack", a->pack, "Search the source of the kernel pack in this folder instead of recipes");
  add_value(*app, "--start", a->start,
            "What is improved and compared with: default (what train would plan), plain, or a recipe file; with --pack the recipe around the pack "
            "[default]");
  add_value(*app, "--proposer", a->proposer, "evolution, tpe, hill, random, or llm [evolution; llm with --llm]");
  add_value(*app, "--compare", a->compare, "Several proposers, such as random,evolution: a search each with the same budget");
  add_value(*app, "--objective", a->objective, "speed, memory, or both as a Pareto front [speed; packs for mlx: memory]");
  add_value(*app, "--budget-evaluations", a->budget_evaluations, "Evaluations of each search; 0: no limit [60 without --budget-seconds]");
  add_value(*app, "--budget-seconds", a->budget_seconds, "Seconds of judging of each search; 0: no limit [0]");
  add_value(*app, "--stagnation", a->stagnation, "End a search after this many evaluations without a new best; 0: never [0]");
  add_value(*app, "--target", a->target, "End a search when the best is surely this many times as good, such as 1.5 [none]");
  add_value(*app, "--seed", a->seed, "Seed of everything random [0]");
  add_value(*app, "--islands", a->islands, "Populations that exchange their best now and then [2]");
  add_value(*app, "--pairs", a->pairs,
            "Pairs in which a candidate is judged: of trainings, or of processes that call kernels [3; with --pack 9, for mlx 5]");
  add_value(*app, "--rows", a->rows, "With --pack: tokens of the calls that kernels are measured by; a confirmation's have about 0.8 as many [256]");
  add_value(*app, "--confirm-pairs", a->confirm_pairs,
            "Pairs of trainings in which a finalist is confirmed on held-out data; a recipe's confirmation may take more [10]");
  add_value(*app, "--max-confirm-pairs", a->max_confirm_pairs,
            "Pairs up to which a recipe's confirmation goes on that is not decided and can still be accepted [4 x --confirm-pairs]");
  add_value(*app, "--finalists", a->finalists,
            "Best of each search that are confirmed, and if all lowered the arithmetic the best that did not [3; 1 with --compare]");
  add_value(*app, "--memory-may-grow", a->memory_may_grow, "Memory that a faster recipe may cost [50%; 2% when memory counts]");
  add_value(*app, "--time-may-grow", a->time_may_grow, "Time that a smaller recipe may cost [50%; 2% when speed counts]");
  add_value(*app, "--loss-margin", a->loss_margin, "Final losses must be equal within this [1%]");
  add_value(*app, "--progress-margin", a->progress_margin, "How far the loss falls must be equal within this [1%]");
  add_llm_flags(*app, a->llm);
  app->add_flag("--keep-arithmetic", a->keep_arithmetic,
                "Search only recipes whose products are computed in the start's arithmetic: no bf16 or int8 instead of fp32");
  app->add_flag("--kernel-genes", a->kernel_genes, "Search the reference kernels too: slow, for trying out the search");
  app->add_flag("--kernels-only", a->kernels_only, "With --pack: judge and confirm kernels alone, without training");
  app->add_flag("--unsafe-no-sandbox", a->unsafe_no_sandbox, "With --pack, without a sandbox: only for sources you would run yourself");
  app->add_flag("--resume", a->resume, "Go on with the search in --out, by its own plan");
  app->add_flag("--json", a->json, "The result as JSON as well, last");
  add_train_flags(*app, flags);
  return {app, [flags, a, app] { return run_evolve(*a, *flags, *app); }, {}};
}

}  // namespace evolora
