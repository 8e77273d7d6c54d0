// One pair on the search's half of the data, or many on the other.
#include "evolve/mlx_training_judge.h"

#include <algorithm>

#include "base/file_lock.h"
#include "evolve/judge/artifact_text.h"
#include "evolve/judge/mlx/mlx_training.h"
#include "evolve/judge/worker_connection.h"
#include "evolve/timing_lease.h"
#include "train/clock.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

class MlxTrainingJudge : public Judge {
 public:
  MlxTrainingJudge(FileSystem& files, fs::path folder, MlxTrainingJudgeOptions options)
      : files_(files), folder_(std::move(folder)), options_(std::move(options)) {}

  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    MlxTrainingResult unused;
    return train(candidate, plan("search", options_.settings.pairs), "training", seed, stop, unused);
  }
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    return judge(candidate, seed, stop);
  }

  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    MlxTrainingPlan held_out = plan("confirm", options_.settings.confirm_pairs);
    held_out.settings["batch_size"] = confirm_batch_size(options_.settings.common);
    MlxTrainingResult result;
    Judgement out = TRY(train(candidate, held_out, "bench", seed, stop, result));
    if (out.outcome != Outcome::kScored) return out;
    judge_losses(result, out);
    if (const auto problem = growth_problem(options_.settings.limits, out); problem && out.outcome == Outcome::kScored) {
      out.outcome = Outcome::kRejected;
      out.reason = *problem;
    }
    return out;
  }

 private:
  MlxTrainingPlan plan(const char* half, std::size_t pairs) const {
    const RecipeJudgeSettings& settings = options_.settings;
    MlxTrainingPlan plan;
    plan.model = settings.common["model"].get<std::string>();
    plan.data = folder_ / "data" / half;
    plan.settings = settings.common;
    plan.pairs = static_cast<int>(pairs);
    plan.loss_margin = settings.loss_margin;
    plan.progress_margin = settings.progress_margin;
    plan.run_seconds = trial_seconds_limit(settings, slowest_baseline_);
    return plan;
  }

  Result<Judgement> train(const Candidate& candidate, const MlxTrainingPlan& plan, const char* gate, std::uint64_t seed,
                          const std::atomic<bool>* stop, MlxTrainingResult& result) {
    const FileLock lease = TRY(FileLock::wait(timing_lease_path(), stop));
    const double begin = monotonic_seconds();
    const MlxTrainingArms arms{.candidate = TRY(options_.library(candidate)), .baseline = options_.baseline};
    const fs::path work = folder_ / "work";
    result = TRY(run_mlx_training(files_, arms, options_.manifest, options_.isolation, plan, work, seed, stop));
    TRY(files_.remove(work));
    for (const auto& [slot, pairs] : result.samples) {
      for (const SamplePair& pair : pairs) slowest_baseline_ = std::max(slowest_baseline_, pair.baseline.wall_seconds);
    }
    Judgement out;
    out.gate = gate;
    out.outcome = result.passed ? Outcome::kScored : Outcome::kRejected;
    out.reason = out.artifact = artifact_line(result.reason);
    out.log_speed = result.log_speed;
    out.log_memory = result.log_memory;
    out.details = result.details;
    out.seconds = monotonic_seconds() - begin;
    return out;
  }

  // Every pair was within the margins; that the mean is, must be shown.
  void judge_losses(const MlxTrainingResult& result, Judgement& out) const {
    VerdictRules rules;
    rules.loss_margin = options_.settings.loss_margin;
    rules.progress_margin = options_.settings.progress_margin;
    Json gates = Json::array();
    for (const auto& [slot, pairs] : result.samples) {
      const Verdict verdict = judge_pairs(pairs, {}, rules, {rules.alpha}, false);
      const Json written = verdict_to_json(verdict);
      for (const Json& gate : written["gates"]) gates.push_back(gate);
      for (const Gate& gate : verdict.gates) {
        if (gate.state == GateState::kPass || gate.state == GateState::kUnchecked || out.outcome != Outcome::kScored) continue;
        out.outcome = gate.state == GateState::kFail ? Outcome::kRejected : Outcome::kInconclusive;
        out.reason = slot + ": " + gate.name + " not shown equal: " + gate.detail;
      }
    }
    out.details["verdict"] = {{"gates", gates}};
  }

  FileSystem& files_;
  fs::path folder_;
  MlxTrainingJudgeOptions options_;
  double slowest_baseline_ = 0;
};

}  // namespace

Result<std::unique_ptr<Judge>> make_mlx_training_judge(FileSystem& files, const fs::path& folder, MlxTrainingJudgeOptions options) {
  for (const char* name : {"evolora_mlx_pack_trainer", "evolora_mlx_engine.so"}) TRY(judging_file(name));
  TRY(prepare_training_data(files, folder, options.settings));
  return std::unique_ptr<Judge>(std::make_unique<MlxTrainingJudge>(files, fs::absolute(folder), std::move(options)));
}

}  // namespace evolora
