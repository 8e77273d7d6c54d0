// `evolora bench`: baseline against candidate, measured in fresh processes, with a verdict that can be computed again from the raw samples.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "bench_printer.h"
#include "command.h"
#include "engine/recipe_json.h"
#include "interrupt.h"
#include "measure/bench_folder.h"
#include "measure/machine_notes.h"
#include "terminal.h"
#include "train_flags.h"
#include "trial_settings.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct BenchArguments {
  std::vector<std::string> baseline;
  std::vector<std::string> candidate;
  std::string out = "bench";
  std::string verify;
  std::string design = "paired";
  std::int64_t pairs = 10;
  std::string precision;
  std::int64_t max_pairs = 40;
  std::int64_t trials = 5;
  std::string loss_margin = "1%";
  std::string progress_margin = "1%";
  std::string token_margin = "0%";
  std::string min_effect = "1%";
  std::string regression_margin = "2%";
  double timeout_seconds = 0;
  std::int64_t order_seed = 1;
  std::string slow_slot = "swiglu";
  bool resume = false;
  bool control = false;
  bool must_accept = false;
};

Result<VerdictRules> rules_of(const BenchArguments& a) {
  VerdictRules rules;
  rules.loss_margin = TRY(share_of_flag("--loss-margin", a.loss_margin));
  rules.progress_margin = TRY(share_of_flag("--progress-margin", a.progress_margin));
  rules.token_margin = TRY(share_of_flag("--token-margin", a.token_margin));
  rules.min_effect = TRY(share_of_flag("--min-effect", a.min_effect));
  rules.regression_margin = TRY(share_of_flag("--regression-margin", a.regression_margin));
  TRY(rules_from_json(rules_to_json(rules), "flags"));
  return rules;
}

// Whatever is wrong with an arm is said before a folder is made, which a second try would find occupied.
Status check_arms(const BenchPlan& plan, FileSystem& files) {
  for (const Arm* arm : {&plan.baseline, &plan.candidate}) {
    if (arm->external()) {
      Json values = plan.common;
      values["seed"] = 0;
      values["out"] = "";
      TRY(expand_command(*arm, values));
      continue;
    }
    TRY(request_of_arm(*arm, plan.common));
    const bool is_path = arm->program.find('/') != std::string::npos;
    if (is_path && !files.exists(arm->program))
      return Error{ErrorCode::kNotFound, fmt::format("arm '{}': {}: no such program", arm->name, arm->program)};
  }
  return {};
}

Result<BenchPlan> make_plan(const BenchArguments& a, const TrainFlags& flags, FileSystem& files) {
  BenchPlan plan;
  if (a.design != "paired" && a.design != "sequential")
    return Error{ErrorCode::kUsage, fmt::format("--design: expected paired or sequential, got {}", a.design)};
  plan.design = a.design == "paired" ? BenchDesign::kPaired : BenchDesign::kSequential;
  if (a.pairs < 1 || a.pairs > 1000) return Error{ErrorCode::kUsage, fmt::format("--pairs: expected 1 to 1000, got {}", a.pairs)};
  if (a.trials < 2 || a.trials > 1000) return Error{ErrorCode::kUsage, fmt::format("--trials: expected 2 to 1000, got {}", a.trials)};
  if (a.max_pairs < static_cast<std::int64_t>(kFewestPairs) || a.max_pairs > 1000)
    return Error{ErrorCode::kUsage, fmt::format("--max-pairs: expected {} to 1000, got {}", kFewestPairs, a.max_pairs)};
  if (a.order_seed < 0) return Error{ErrorCode::kUsage, fmt::format("--order-seed: expected a whole number, 0 or more, got {}", a.order_seed)};
  if (!(a.timeout_seconds >= 0 && a.timeout_seconds <= 1e9))
    return Error{ErrorCode::kUsage, fmt::format("--timeout: expected seconds from 0 to 1e9, got {}", a.timeout_seconds)};
  if (a.must_accept && plan.design == BenchDesign::kSequential)
    return Error{ErrorCode::kUsage, "--must-accept: the sequential design has no verdict to accept; use --design paired"};
  plan.common = TRY(common_trial_settings(flags, files));
  if (plan.common.contains("seed")) {
    if (plan.common["seed"].is_number_unsigned() || (plan.common["seed"].is_number_integer() && plan.common["seed"].get<std::int64_t>() >= 0)) {
      plan.seed = plan.common["seed"].get<std::uint64_t>();
    }
    plan.common.erase("seed");
  }
  const std::string program = TRY(own_program());
  plan.baseline = TRY(parse_arm(files, a.baseline, program, "--baseline"));
  plan.candidate = TRY(parse_arm(files, a.candidate, program, "--candidate"));
  TRY(check_arms(plan, files));
  plan.rules = TRY(rules_of(a));
  plan.order_seed = static_cast<std::uint64_t>(a.order_seed);
  plan.trials = static_cast<std::size_t>(a.trials);
  plan.looks = {static_cast<std::size_t>(a.pairs)};
  if (!a.precision.empty()) {
    plan.precision = TRY(share_of_flag("--precision", a.precision));
    plan.looks = growing_looks(static_cast<std::size_t>(a.max_pairs));
  }
  plan.timeout_seconds = a.timeout_seconds;
  plan.model_sha256 = TRY(digest_of_files(files, plan.common["model"].get<std::string>()));
  plan.data_sha256 = TRY(digest_of_files(files, plan.common["data"].get<std::string>()));
  plan.versions = built_versions();
  plan.machine = machine_notes();
  return plan;
}

// A new folder with its plan, or with --resume the plan that is there.
Result<BenchPlan> open_folder(const BenchArguments& a, const TrainFlags& flags, FileSystem& files) {
  const fs::path folder = a.out;
  if (a.resume) return read_bench_plan(files, folder);
  if (files.exists(folder / "plan.json")) {
    return Error{ErrorCode::kUsage, fmt::format("{} already holds a bench: continue it with --resume, or give another folder with --out", a.out)};
  }
  BenchPlan plan = TRY(make_plan(a, flags, files));
  TRY(files.create_directories(folder));
  TRY(write_file_atomically(files, folder / "plan.json", plan_to_json(plan).dump(2) + "\n"));
  return plan;
}

Status check_inputs_unchanged(const BenchPlan& plan, FileSystem& files, const char* when) {
  for (const auto& [key, digest] : {std::pair("model", &plan.model_sha256), std::pair("data", &plan.data_sha256)}) {
    const std::string path = plan.common.value(key, Json()).is_string() ? plan.common[key].get<std::string>() : "";
    if (TRY(digest_of_files(files, path)) == *digest) continue;
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: the {} is not what it was when the bench was planned ({}); its samples cannot be compared", path, key, when)};
  }
  return {};
}

Status run_paired(const BenchPlan& plan, const fs::path& folder, FileSystem& files, Verdict& verdict) {
  BenchPrinter printer(plan);
  printer.print_plan();
  std::vector<TrialRecord> records = TRY(read_samples(files, folder / "samples.jsonl", plan_digest(plan)));
  const auto result = run_paired_bench(files, folder, plan, records, printer, stop_flag());
  if (!result.ok()) {
    if (result.error().code == ErrorCode::kInterrupted) printer.print_result(assess(plan, records).verdict, records);
    return result.error();
  }
  verdict = result->verdict;
  TRY(write_file_atomically(files, folder / "verdict.json", verdict_to_json(verdict).dump(2) + "\n"));
  printer.print_result(verdict, records);
  return {};
}

Status run_sequential(const BenchPlan& plan, const fs::path& folder, FileSystem& files) {
  BenchPrinter printer(plan);
  printer.print_plan();
  std::vector<TrialRecord> records = TRY(read_samples(files, folder / "samples.jsonl", plan_digest(plan)));
  TRY(run_sequential_bench(files, folder, plan, records, printer, stop_flag()));
  const SequentialReport report = report_sequential(plan, records);
  TRY(write_file_atomically(files, folder / "verdict.json", report_to_json(report).dump(2) + "\n"));
  printer.print_report(report, records);
  return {};
}

Status run_bench_in(const BenchPlan& plan, const fs::path& folder, FileSystem& files, Verdict& verdict) {
  TRY(check_inputs_unchanged(plan, files, "before the first trial"));
  TRY(plan.design == BenchDesign::kPaired ? run_paired(plan, folder, files, verdict) : run_sequential(plan, folder, files));
  TRY(check_inputs_unchanged(plan, files, "after the last trial"));
  fmt::print("\nRaw samples in {}; recompute with: evolora bench --verify {}\n", (folder / "samples.jsonl").string(), folder.string());
  return {};
}

// The bench is tried on cases with a known answer: the baseline against itself, and against itself with one slot on the slow reference kernel.
Status run_controls(const BenchArguments& a, const TrainFlags& flags, FileSystem& files) {
  BenchPlan same = TRY(make_plan(a, flags, files));
  same.design = BenchDesign::kPaired;
  same.candidate = same.baseline;
  same.candidate.name += " (again)";
  const fs::path folder = a.out;
  std::vector<std::pair<std::string, BenchPlan>> controls = {{"same", same}};
  if (same.baseline.external()) {
    fmt::print("The known slowdown needs a baseline of this program; only the baseline against itself is run.\n");
  } else {
    const fs::path recipe = fs::absolute(folder / "slow" / "slow_recipe.json");
    Json fields = Json::object();
    for (const Json* settings : {&same.common, &same.baseline.settings}) {
      if (!settings->contains("recipe")) continue;
      const fs::path path = (*settings)["recipe"].get<std::string>();
      fields = TRY(read_json_object(files, path));
      // The copy stands in another folder, from which the pack is not where the recipe says.
      const RecipeChoices choices = TRY(read_recipe(files, path));
      if (choices.pack) fields["pack"] = choices.pack->folder;
    }
    fields["kernels"] = Json{{a.slow_slot, "reference"}};
    TRY(files.create_directories(recipe.parent_path()));
    TRY(write_file_atomically(files, recipe, fields.dump(2) + "\n"));
    BenchPlan slow = same;
    slow.candidate = TRY(parse_arm(files, {recipe.string()}, same.baseline.program, "--slow-slot"));
    for (const auto& [key, value] : same.baseline.settings.items()) {
      if (key != "recipe" && key != "kernels") slow.candidate.settings[key] = value;
    }
    slow.candidate.name = same.baseline.name + ", " + a.slow_slot + " slow";
    controls.emplace_back("slow", slow);
  }
  std::string wrong;
  for (auto& [name, plan] : controls) {
    fmt::print("\n{}\n", styled(Style::kBold, name == "same" ? "Control 1: an arm against itself must not be ACCEPTed or called worse"
                                                             : "Control 2: a known slowdown must be REJECTed as slower"));
    TRY(files.create_directories(folder / name));
    if (!files.exists(folder / name / "plan.json")) TRY(write_file_atomically(files, folder / name / "plan.json", plan_to_json(plan).dump(2) + "\n"));
    plan = TRY(read_bench_plan(files, folder / name));
    Verdict verdict;
    TRY(run_bench_in(plan, folder / name, files, verdict));
    const bool called_worse = verdict.reason.find("worse in") != std::string::npos;
    const bool right =
        name == "same" ? verdict.decision != Decision::kAccept && !called_worse : verdict.decision == Decision::kReject && called_worse;
    fmt::print("{}\n", right ? styled(Style::kGreen, "As it must be.") : styled(Style::kRed, "Not as it must be."));
    if (!right) wrong += (wrong.empty() ? "" : ", ") + name;
  }
  if (wrong.empty()) return {};
  return Error{ErrorCode::kDependency,
               fmt::format("the control '{}' did not come out as it must: this machine, or this length of run, cannot carry a verdict", wrong)};
}

Status run_verify(const std::string& path) {
  FileSystem& files = real_file_system();
  const fs::path folder = path;
  const auto [plan, records] = TRY(read_bench_folder(files, folder));
  BenchPrinter printer(plan);
  printer.print_plan();
  Json now;
  if (plan.design == BenchDesign::kPaired) {
    const Assessment assessment = assess(plan, records);
    printer.print_result(assessment.verdict, records);
    now = verdict_to_json(assessment.verdict);
  } else {
    const SequentialReport report = report_sequential(plan, records);
    printer.print_report(report, records);
    now = report_to_json(report);
  }
  if (TRY(kept_verdict_agrees(files, folder, now))) {
    fmt::print("\nThe samples give the verdict that verdict.json holds.\n");
  } else {
    fmt::print("\n{} has no verdict.json to compare with (the bench did not end)\n", path);
  }
  return {};
}

Status run_bench(const BenchArguments& a, const TrainFlags& flags) {
  if (!a.verify.empty()) return run_verify(a.verify);
  FileSystem& files = real_file_system();
  if (a.control) return run_controls(a, flags, files);
  if (!a.resume && a.candidate.empty()) {
    return Error{ErrorCode::kUsage,
                 "--candidate is missing: for example --candidate recipe.json, --candidate learning_rate=2e-5 or --candidate engine=mlx"};
  }
  const BenchPlan plan = TRY(open_folder(a, flags, files));
  Verdict verdict;
  TRY(run_bench_in(plan, a.out, files, verdict));
  if (a.must_accept && verdict.decision != Decision::kAccept) {
    return Error{ErrorCode::kBadData, fmt::format("the verdict is {}, and --must-accept was given", word(verdict.decision))};
  }
  return {};
}

}  // namespace

Command add_bench_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("bench", "Is the candidate better than the baseline? Paired trials, statistics, a verdict");
  auto flags = std::make_shared<TrainFlags>();
  auto a = std::make_shared<BenchArguments>();
  const char* arm_help =
      "KEY=VALUE of a training setting, program=PATH, requires=quantized_layers, an engine, a kernel set, or a .json recipe or arm";
  app->add_option("--baseline", a->baseline, std::string("What the candidate is compared with: ") + arm_help + "; repeatable [the defaults]")
      ->expected(1)
      ->take_all();
  app->add_option("--candidate", a->candidate, std::string("What is judged: ") + arm_help + "; repeatable")->expected(1)->take_all();
  add_value(*app, "--out", a->out, "Folder for plan, raw samples and verdict [bench]");
  add_value(*app, "--design", a->design, "paired, or sequential (the classic protocol) [paired]");
  add_value(*app, "--pairs", a->pairs, "Pairs after the warm-up pair [10]");
  add_value(*app, "--precision", a->precision, "Stop as soon as the plan's looks decide, or the speed ratio is known to this, such as 2%");
  add_value(*app, "--max-pairs", a->max_pairs, "Most pairs with --precision [40]");
  add_value(*app, "--trials", a->trials, "Trials per arm of the sequential design [5]");
  add_value(*app, "--min-effect", a->min_effect, "Smallest gain in speed or memory that is worth a claim [1%]");
  add_value(*app, "--regression-margin", a->regression_margin, "How much slower or larger still counts as not worse [2%]");
  add_value(*app, "--loss-margin", a->loss_margin, "Final losses must be shown equal within this [1%]");
  add_value(*app, "--progress-margin", a->progress_margin, "How far the loss falls must be shown equal within this [1%]");
  add_value(*app, "--token-margin", a->token_margin, "Numbers of trained tokens may differ by this [0%]");
  add_value(*app, "--order-seed", a->order_seed, "Seed of the order inside the pairs [1]");
  add_value(*app, "--timeout", a->timeout_seconds, "Seconds after which a trial is ended and counted as failed; 0: never [0]");
  app->add_flag("--resume", a->resume, "Continue the bench in --out with its own plan");
  app->add_flag("--control", a->control, "Try the bench itself: the baseline against itself, and against a known slowdown");
  add_value(*app, "--slow-slot", a->slow_slot, "Kernel slot that runs its reference in the known slowdown [swiglu]");
  app->add_flag("--must-accept", a->must_accept, "Exit status 2 unless the verdict is ACCEPT");
  add_value(*app, "--verify", a->verify, "Compute the verdict of this folder again from its raw samples alone");
  add_train_flags(*app, flags);
  return {app, [flags, a] { return run_bench(*a, *flags); }};
}

}  // namespace evolora
