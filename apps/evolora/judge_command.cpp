// `evolora judge`: one source file of a kernel pack put to the cascade that a search would put it to, once.
#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "command.h"
#include "evolve/fitness.h"
#include "evolve/judge/mlx/mlx_source_judge.h"
#include "evolve/judge/sandbox_compiler.h"
#include "evolve/judge/source_judge.h"
#include "evolve/judge_answer.h"
#include "evolve/pack_judge.h"
#include "interrupt.h"

namespace evolora {
namespace {

struct JudgeArguments {
  std::string program;
  std::string pack;
  std::string work = "judge";
  std::int64_t seed = 0;
  std::int64_t pairs = 0;  // 0: the target's own
  std::string objective;   // empty: the target's own
  std::string model, data;
  std::int64_t iters = 20;
  bool against_own_kernels = false;
  bool unsafe_no_sandbox = false;
  bool confirm = false;
  bool json = false;
};

// The pack with its one source file, or the one of the program's name, replaced.
Result<Candidate> candidate_of(FileSystem& files, const JudgeArguments& a, const KernelPack& pack) {
  Candidate candidate{.sources = pack.sources};
  const std::string name = fs::path(a.program).filename().string();
  std::string replaced = pack.sources.contains(name) ? name : pack.manifest.files.front();
  if (pack.manifest.files.size() > 1 && !pack.sources.contains(name)) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: the pack {} has several files; name the program as the one that it replaces", a.program, a.pack)};
  }
  candidate.sources[replaced] = TRY(files.read(a.program));
  return candidate;
}

void print_ratio(const char* what, const std::vector<double>& logs) {
  if (logs.empty()) return;
  fmt::print("{} {:.3f} x the baseline's (geometric mean of {} pairs of fresh processes), at least {:.3f} x with 90 % confidence\n", what,
             std::exp(summarize(logs).mean), logs.size(), std::exp(lower_bound(logs)));
}

void print_judgement(const Judgement& judgement, std::optional<double> fitness) {
  fmt::print("{} at gate {} after {:.1f} s\n", word(judgement.outcome), judgement.gate, judgement.seconds);
  if (!judgement.reason.empty()) fmt::print("{}\n", judgement.reason);
  if (!judgement.artifact.empty()) fmt::print("{}\n", judgement.artifact);
  if (!fitness.has_value()) return;
  print_ratio("speed", judgement.log_speed);
  print_ratio("memory saving", judgement.log_memory);
}

// What candidates are measured against: the pack itself, compiled as candidates are.
Result<fs::path> baseline_of(FileSystem& files, const JudgeArguments& a, Isolation isolation) {
  return build_baseline(files, fs::absolute(a.pack).lexically_normal(), isolation, stop_flag());
}

Result<std::unique_ptr<Judge>> make_cpu_judge(FileSystem& files, const JudgeArguments& a, const KernelPack& pack, Isolation isolation) {
  for (const auto& [flag, given] : {std::pair("--model", !a.model.empty()), std::pair("--data", !a.data.empty())}) {
    if (given) return Error{ErrorCode::kUsage, fmt::format("{}: short trainings are a gate of packs for mlx; {} is for cpu", flag, a.pack)};
  }
  SourceJudgeOptions options{.start = pack, .work = fs::absolute(a.work).lexically_normal(), .isolation = isolation};
  if (a.pairs != 0) options.pairs = static_cast<int>(a.pairs);
  if (!a.against_own_kernels) options.baseline = TRY(baseline_of(files, a, isolation));
  return std::unique_ptr<Judge>(TRY(SourceJudge::create(files, std::move(options))));
}

Result<std::unique_ptr<Judge>> make_mlx_judge(FileSystem& files, const JudgeArguments& a, const KernelPack& pack, Isolation isolation) {
  if (a.against_own_kernels)
    return Error{ErrorCode::kUsage, fmt::format("--against-own-kernels: {} is for mlx, and is measured against the pack itself", a.pack)};
  if (a.model.empty() != a.data.empty()) return Error{ErrorCode::kUsage, "--model and --data: expected both or neither"};
  MlxSourceJudgeOptions options{.start = pack, .work = fs::absolute(a.work).lexically_normal(), .isolation = isolation};
  if (a.pairs != 0) options.pairs = static_cast<int>(a.pairs);
  options.training.model = a.model;
  options.training.data = a.data;
  options.training.settings["iters"] = a.iters;
  options.baseline = TRY(baseline_of(files, a, isolation));
  return std::unique_ptr<Judge>(TRY(MlxSourceJudge::create(files, std::move(options))));
}

Status run_judge(const JudgeArguments& a) {
  FileSystem& files = real_file_system();
  if (a.pairs != 0 && (a.pairs < 2 || a.pairs > 1000))
    return Error{ErrorCode::kUsage, fmt::format("--pairs: expected a whole number in [2, 1000], got {}", a.pairs)};
  if (a.iters < 1 || a.iters > 100'000)
    return Error{ErrorCode::kUsage, fmt::format("--iters: expected a whole number in [1, 100000], got {}", a.iters)};
  if (a.unsafe_no_sandbox) fmt::print(stderr, "evolora: --unsafe-no-sandbox: the program runs with all rights of yours\n");
  const Isolation isolation = a.unsafe_no_sandbox ? Isolation::kNone : Isolation::kSandbox;
  const KernelPack pack = TRY(read_pack(files, a.pack));
  const Candidate candidate = TRY(candidate_of(files, a, pack));
  const std::atomic<bool>* stop = stop_flag();
  const bool is_mlx = pack.manifest.target == PackTarget::kMlx;
  Objective objective = usual_objective(pack.manifest.target);
  if (!a.objective.empty()) objective = TRY(objective_from(a.objective));
  if (!is_mlx && objective != Objective::kSpeed)
    return Error{ErrorCode::kUsage,
                 fmt::format("--objective: {} is for cpu, whose memory is not measured: expected speed, got {}", a.pack, word(objective))};
  const std::unique_ptr<Judge> judge = TRY(is_mlx ? make_mlx_judge(files, a, pack, isolation) : make_cpu_judge(files, a, pack, isolation));
  const auto seed = static_cast<std::uint64_t>(a.seed);
  const Judgement judgement = TRY(a.confirm ? judge->confirm(candidate, seed, stop) : judge->judge(candidate, seed, stop));
  const std::optional<double> fitness = fitness_of(objective, judgement);
  if (a.json) {
    fmt::print("{}\n", judge_answer(judgement, fitness).dump(2));
  } else {
    print_judgement(judgement, fitness);
  }
  return {};
}

}  // namespace

Command add_judge_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("judge", "Judges one source file of a kernel pack: rules, compiler, numerics, speed; in a sandbox");
  auto a = std::make_shared<JudgeArguments>();
  app->add_option("PROGRAM", a->program, "Source file that replaces the pack's")->required();
  add_value(*app, "--pack", a->pack, "Folder of the kernel pack: what may change, and what the program is timed against")->required();
  add_value(*app, "--work", a->work, "Folder for compiled libraries [judge]");
  add_value(*app, "--seed", a->seed, "Of hidden inputs and the order of pairs [0]");
  add_value(*app, "--pairs", a->pairs, "Pairs of fresh processes that are timed [9; mlx: 5 for each shape]");
  add_value(*app, "--objective", a->objective, "What the score is of: speed, memory or both [cpu: speed; mlx: memory]");
  add_value(*app, "--model", a->model, "For mlx: MLX model folder of the training gate; without one the gate is left out");
  add_value(*app, "--data", a->data, "For mlx: folder with train.jsonl, for the training gate");
  add_value(*app, "--iters", a->iters, "For mlx: steps of the training gate [20]");
  app->add_flag("--against-own-kernels", a->against_own_kernels, "Time against the program's own kernels instead of the pack");
  app->add_flag("--confirm", a->confirm, "Held-out shapes and other inputs, three times the pairs");
  app->add_flag("--unsafe-no-sandbox", a->unsafe_no_sandbox, "Without a sandbox: only for programs you would run yourself");
  app->add_flag("--json", a->json, "Print the judgement as JSON");
  return {app, [a] { return run_judge(*a); }};
}

}  // namespace evolora
