// The cascade for recipes.
#include "evolve/recipe_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/file_lock.h"
#include "engine/recipe_json.h"
#include "evolve/data_halves.h"
#include "evolve/recipe_space.h"
#include "evolve/timing_lease.h"
#include "measure/bench_folder.h"
#include "measure/machine_notes.h"
#include "measure/paired_bench.h"
#include "train/clock.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kSeeds = std::uint64_t{1} << 31;  // what a training request takes

std::int64_t batch_size_of(const Json& common) {
  const auto found = common.find("batch_size");
  return found != common.end() && found->is_number_integer() ? found->get<std::int64_t>() : 4;  // the default of training
}

double mean_of(const std::vector<double>& values) { return summarize(values).mean; }

bool contradicts_itself(const std::string& reason) { return reason.starts_with("clock_disagrees") || reason.starts_with("memory_disagrees"); }

class RecipeJudge : public Judge {
 public:
  RecipeJudge(FileSystem& files, fs::path folder, RecipeJudgeSettings settings, CandidateTraining training)
      : files_(files), folder_(std::move(folder)), settings_(std::move(settings)), training_(std::move(training)) {}

  Status prepare() { return prepare_training_data(files_, folder_, settings_); }

  void set_incumbent(const std::optional<Judgement>& best) override { incumbent_ = best; }

  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    return measure(candidate, seed, stop, settings_.pairs);
  }
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    incumbent_.reset();  // the leader is not raced against itself
    return measure(candidate, seed, stop, settings_.again_pairs);
  }

  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    const FileLock lease = TRY(FileLock::wait(timing_lease_path(), stop));
    const double begin = monotonic_seconds();
    const fs::path folder = folder_ / "confirm" / candidate.digest().substr(0, 12);
    BenchPlan plan = TRY(bench_plan(candidate, seed, folder, "confirm"));
    plan.common["batch_size"] = confirm_batch_size(settings_.common);
    plan.looks = confirm_looks(settings_);
    if (plan.looks.size() > 1) {
      plan.futility = true;
      if (settings_.objective != Objective::kBoth) plan.wanted = word(settings_.objective);
    }
    plan.timeout_seconds = trial_seconds_limit(settings_, 0);  // other batches: what the search knows of times does not bind them
    std::vector<TrialRecord> records = TRY(records_of(folder, plan));
    BenchObserver silent;
    const Assessment assessment = TRY(run_paired_bench(files_, folder, plan, records, silent, stop, training_.launcher));
    const Verdict& verdict = assessment.verdict;
    TRY(write_file_atomically(files_, folder / "verdict.json", verdict_to_json(verdict).dump(2) + "\n"));
    Judgement out;
    out.gate = "bench";
    out.outcome = verdict.decision == Decision::kAccept   ? Outcome::kScored
                  : verdict.decision == Decision::kReject ? Outcome::kRejected
                                                          : Outcome::kInconclusive;
    if (out.outcome != Outcome::kScored) out.reason = verdict.reason;
    const std::vector<PairRecords> pairs = pairs_of(records);
    for (const SamplePair& pair : samples_of(pairs)) add_pair(out, pair.baseline, pair.candidate);
    out.details = {{"verdict", verdict_to_json(verdict)}, {"folder", folder.lexically_relative(folder_).string()}};
    out.seconds = monotonic_seconds() - begin;
    return out;
  }

 private:
  static void add_pair(Judgement& out, const TrialSample& baseline, const TrialSample& candidate) {
    out.log_speed.push_back(std::log(baseline.wall_seconds / candidate.wall_seconds));
    out.log_memory.push_back(std::log(baseline.peak_bytes / candidate.peak_bytes));
  }

  Result<BenchPlan> bench_plan(const Candidate& candidate, std::uint64_t seed, const fs::path& folder, const char* half) {
    TRY(files_.create_directories(folder));
    BenchPlan plan;
    plan.common = settings_.common;
    plan.common["data"] = fs::absolute(folder_ / "data" / half).string();
    plan.seed = seed % kSeeds;
    plan.order_seed = seed;
    plan.rules.loss_margin = settings_.loss_margin;
    plan.rules.progress_margin = settings_.progress_margin;
    // One margin for both claims; that the wanted one is better is tested by itself, over all finalists.
    const GrowthLimits& limits = settings_.limits;
    const double growth = settings_.objective == Objective::kSpeed    ? limits.memory
                          : settings_.objective == Objective::kMemory ? limits.time
                                                                      : std::min(limits.memory, limits.time);
    plan.rules.regression_margin = growth / (1 + growth);
    for (const auto& [arm, name, recipe] :
         {std::tuple(&plan.baseline, "baseline", settings_.baseline), std::tuple(&plan.candidate, "candidate", TRY(recipe_of(candidate)))}) {
      const fs::path file = fs::absolute(folder / fmt::format("{}.json", name));
      TRY(write_file_atomically(files_, file, recipe.dump(2) + "\n"));
      arm->name = name;
      arm->program = settings_.program;
      arm->settings["recipe"] = file.string();
    }
    plan.model_sha256 = settings_.model_sha256;
    plan.data_sha256 = TRY(digest_of_files(files_, plan.common["data"].get<std::string>()));
    plan.versions = settings_.versions;
    plan.machine = settings_.machine;
    return plan;
  }

  // Of a confirmation that was interrupted, if it had this plan; else the folder starts anew.
  Result<std::vector<TrialRecord>> records_of(const fs::path& folder, const BenchPlan& plan) {
    if (files_.exists(folder / "plan.json")) {
      const auto kept = read_bench_plan(files_, folder);
      if (kept.ok() && plan_digest(*kept) == plan_digest(plan)) return read_samples(files_, folder / "samples.jsonl", plan_digest(plan));
    }
    for (const char* name : {"samples.jsonl", "verdict.json", "trials"}) TRY(files_.remove(folder / name));
    TRY(write_file_atomically(files_, folder / "plan.json", plan_to_json(plan).dump(2) + "\n"));
    return std::vector<TrialRecord>();
  }

  Result<Judgement> measure(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop, std::size_t pairs) {
    Judgement out;
    out.gate = "parse";
    const auto parsed = recipe_from_json(TRY(recipe_of(candidate)), "candidate");
    if (!parsed.ok()) {
      out.reason = parsed.error().message;
      return out;
    }
    const FileLock lease = TRY(FileLock::wait(timing_lease_path(), stop));
    const double begin = monotonic_seconds();
    const fs::path work = folder_ / "work";
    TRY(files_.remove(work));
    BenchPlan plan = TRY(bench_plan(candidate, seed, work, "search"));
    plan.timeout_seconds = trial_seconds_limit(settings_, slowest_baseline_);
    TrialRunner runner = TRY(TrialRunner::create(files_, work, plan, training_.launcher));
    out.cell = recipe_cell(candidate.genome);
    out.details = {{"baseline", Json::array()}, {"candidate", Json::array()}};
    for (std::size_t pair = 1; pair <= pairs; ++pair) {
      out.gate = pair == 1 ? "training" : "bench";
      const bool goes_on = TRY(run_pair(runner, plan, pair, stop, out));
      if (!goes_on) break;
      out.outcome = Outcome::kScored;
      if (surely_worse(out.log_speed, out.log_memory)) {
        out.details["raced"] = true;
        break;
      }
    }
    judge_limits(out);
    if (!out.log_memory.empty()) {
      constexpr double kBin = 0.15;
      out.cell.push_back(static_cast<int>(std::clamp(std::round(mean_of(out.log_memory) / kBin), -5.0, 5.0)));
    }
    out.seconds = monotonic_seconds() - begin;
    TRY(files_.remove(work));
    return out;
  }

  // False: the judging ends here, out says why.
  Result<bool> run_pair(TrialRunner& runner, const BenchPlan& plan, std::size_t pair, const std::atomic<bool>* stop, Judgement& out) {
    TrialSample samples[2];
    for (int position = 0; position < 2; ++position) {
      const bool is_candidate = candidate_first(plan, pair) == (position == 0);
      const TrialPlace place{is_candidate ? ArmRole::kCandidate : ArmRole::kBaseline, pair, 0, false, position};
      const TrialRecord record = TRY(runner.run(place, stop));
      if (record.status == TrialStatus::kInterrupted || (stop != nullptr && stop->load())) {
        return Error{ErrorCode::kInterrupted, "interrupted; what is finished is kept: go on with --resume"};
      }
      if (!is_candidate) slowest_baseline_ = std::max(slowest_baseline_, record.sample.wall_seconds);
      if (record.status != TrialStatus::kOk) {
        const bool blame = is_candidate && !contradicts_itself(record.reason);
        out.outcome = blame ? Outcome::kRejected : Outcome::kInconclusive;
        out.reason = fmt::format("{}: {}", is_candidate ? "candidate" : "baseline", record.reason);
        return false;
      }
      samples[is_candidate ? 1 : 0] = record.sample;
      out.details[is_candidate ? "candidate" : "baseline"].push_back(
          {{"seconds", record.sample.wall_seconds}, {"peak_bytes", record.sample.peak_bytes}, {"train_loss", record.sample.train_loss.value_or(0)}});
    }
    const double expected = samples[0].train_loss.value_or(0);
    const double got = samples[1].train_loss.value_or(0);
    if (!(std::abs(got - expected) <= settings_.loss_margin * std::abs(expected))) {
      out.outcome = Outcome::kRejected;
      out.reason = fmt::format("training loss {:.5g}, the baseline's with the same seed {:.5g}: further than {:.2g} %", got, expected,
                               100 * settings_.loss_margin);
      out.artifact = out.reason;
      return false;
    }
    add_pair(out, samples[0], samples[1]);
    return true;
  }

  bool surely_worse(const std::vector<double>& speed, const std::vector<double>& memory) const {
    if (!incumbent_ || speed.size() < 2 || incumbent_->log_speed.empty()) return false;
    const bool slower = upper_bound(speed) < lower_bound(incumbent_->log_speed);
    const bool larger = upper_bound(memory) < lower_bound(incumbent_->log_memory);
    if (settings_.objective == Objective::kSpeed) return slower;
    if (settings_.objective == Objective::kMemory) return larger;
    return slower && larger;
  }

  void judge_limits(Judgement& out) const {
    if (out.outcome != Outcome::kScored) return;
    const auto problem = growth_problem(settings_.objective, settings_.limits, out);
    if (!problem) return;
    out.outcome = Outcome::kRejected;
    out.reason = *problem;
  }

  Result<Json> recipe_of(const Candidate& candidate) const {
    if (!training_.recipe_of) return recipe_json_of(candidate.genome);
    return training_.recipe_of(candidate);
  }

  FileSystem& files_;
  fs::path folder_;
  RecipeJudgeSettings settings_;
  CandidateTraining training_;
  std::optional<Judgement> incumbent_;
  double slowest_baseline_ = 0;
};

}  // namespace

double trial_seconds_limit(const RecipeJudgeSettings& settings, double slowest_baseline) {
  // The longest while nothing is known of how long one takes: a candidate may hang in its very first.
  constexpr double kLongestSeconds = 3600, kLeastSeconds = 30, kPatience = 10;
  if (settings.timeout_seconds > 0) return settings.timeout_seconds;
  return slowest_baseline > 0 ? std::max(kLeastSeconds, kPatience * slowest_baseline) : kLongestSeconds;
}

std::vector<std::size_t> confirm_looks(const RecipeJudgeSettings& settings) {
  std::vector<std::size_t> looks;
  for (std::size_t pairs = settings.confirm_pairs; pairs < settings.max_confirm_pairs; pairs *= 2) looks.push_back(pairs);
  looks.push_back(settings.max_confirm_pairs);
  return looks;
}

std::int64_t confirm_batch_size(const Json& common) { return batch_size_of(common) == 1 ? 2 : batch_size_of(common) / 2; }

Status prepare_training_data(FileSystem& files, const fs::path& folder, const RecipeJudgeSettings& settings) {
  for (const auto& [key, digest] : {std::pair("model", &settings.model_sha256), std::pair("data", &settings.data_sha256)}) {
    const std::string path = settings.common.value(key, Json()).is_string() ? settings.common[key].get<std::string>() : "";
    if (TRY(digest_of_files(files, path)) == *digest) continue;
    return Error{ErrorCode::kBadData, fmt::format("{}: the {} is not what it was when the search was planned; start a new search", path, key)};
  }
  const auto batch = static_cast<std::size_t>(std::max(batch_size_of(settings.common), confirm_batch_size(settings.common)));
  return write_data_halves(files, settings.common["data"].get<std::string>(), folder / "data", batch);
}

Result<std::unique_ptr<Judge>> make_recipe_judge(FileSystem& files, const fs::path& folder, const RecipeJudgeSettings& settings,
                                                 CandidateTraining training) {
  auto judge = std::make_unique<RecipeJudge>(files, folder, settings, std::move(training));
  TRY(judge->prepare());
  return std::unique_ptr<Judge>(std::move(judge));
}

}  // namespace evolora
