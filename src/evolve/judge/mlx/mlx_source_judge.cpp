// The gates after the library, slot by slot.
#include "evolve/judge/mlx/mlx_source_judge.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve/judge/mlx/mlx_numerics.h"
#include "evolve/judge/mlx/mlx_problem_shapes.h"
#include "evolve/judge/mlx/mlx_slots.h"
#include "evolve/judge/pack_gates.h"
#include "measure/estimators.h"

namespace evolora {
namespace {

const char* direction_of(const std::vector<double>& logs) {
  const Summary summary = summarize(logs);
  return summary.interval.low > 0 ? "better" : summary.interval.high < 0 ? "worse" : "no difference shown";
}

}  // namespace

class MlxSourceJudge::Cascade : public PackGates {
 public:
  Cascade(MlxSourceJudge& judge, const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop)
      : PackGates(judge.files_, {judge.options_.start, judge.options_.work, judge.options_.isolation}, candidate, seed, stop),
        options_(judge.options_) {}

  Result<bool> numerics() {
    TRY(enter("numerics"));
    auto runner = MlxRunner::start(library_, runner_options());
    if (!TRY(started(runner))) return false;
    for (const bool dora : {false, true}) {
      const bool wanted = options_.start.manifest.serves(mlx_slot(dora)), has = (*runner)->serves(dora);
      if (wanted == has) continue;
      return reject(fmt::format("it {} evolora_mlx_{}, which {} among the pack's slots", has ? "defines" : "does not define", mlx_slot(dora),
                                wanted ? "is" : "is not"));
    }
    int calls = 0;
    for (const bool dora : served_kinds(options_.start.manifest)) {
      const MlxGateResult result = TRY(judge_mlx_numerics(**runner, dora, seed_));
      calls += result.calls;
      judgement_.details["numerics_calls"] = calls;
      if (!result.passed && result.gate == "determinism") TRY(enter("determinism"));
      if (!result.passed) return reject(fmt::format("{}: {}", mlx_slot(dora), result.reason));
    }
    TRY(enter("determinism"));
    return true;
  }

  Result<bool> microbenchmark(const std::vector<MlxProblemShape>& shapes, int pairs) {
    const FileLock lease = TRY(wait_for_machine());
    TRY(enter("microbenchmark"));
    const MlxMicrobenchmarkPlan plan{.shapes = shapes, .pairs = pairs, .seed = seed_};
    MlxRunnerOptions options = runner_options();
    options.input_bytes = options.output_bytes = std::max(options.input_bytes, most_call_bytes(shapes));
    MlxMicrobenchmarkResult result = TRY(run_mlx_microbenchmark(library_, options_.baseline, options, plan, stop_));
    judgement_.details["microbenchmark"] = std::move(result.details);
    if (!result.passed) return refuse_times(result.reason, result.too_fast);
    judgement_.log_speed = std::move(result.log_speed);
    judgement_.log_memory = std::move(result.log_memory);
    judgement_.outcome = Outcome::kScored;
    return true;
  }

  Result<bool> training() {
    if (options_.training.model.empty()) {
      judgement_.details["training"] = "not run: no model and data were given";
      return true;
    }
    const FileLock lease = TRY(wait_for_machine());
    TRY(enter("training"));
    const fs::path work = options_.work / "training";
    MlxTrainingResult result = TRY(
        run_mlx_training(files_, {library_, options_.baseline}, options_.start.manifest, options_.isolation, options_.training, work, seed_, stop_));
    TRY(files_.remove(work));
    judgement_.details["training"] = std::move(result.details);
    if (!result.passed) {
      judgement_.log_speed.clear();
      judgement_.log_memory.clear();
      return reject(result.reason);
    }
    return true;
  }

 private:
  MlxRunnerOptions runner_options() const { return {.isolation = options_.isolation, .call_seconds = options_.call_seconds}; }

  const MlxSourceJudgeOptions& options_;
};

Result<std::unique_ptr<MlxSourceJudge>> MlxSourceJudge::create(FileSystem& files, MlxSourceJudgeOptions options) {
  options.work = TRY(open_pack_judging(files, options.work, options.isolation, "evolora_mlx_pack_worker"));
  options.baseline = fs::absolute(options.baseline);
  constexpr std::int64_t kRank = 8, kRows = 256, kHeldOutRows = 192;
  if (options.shapes.empty()) options.shapes = mlx_shapes(options.start.manifest, kRank, kRows);
  if (options.held_out_shapes.empty()) options.held_out_shapes = mlx_shapes(options.start.manifest, kRank, kHeldOutRows);
  return std::unique_ptr<MlxSourceJudge>(new MlxSourceJudge(files, std::move(options)));
}

Result<Judgement> MlxSourceJudge::run(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop, bool confirms) {
  Cascade cascade(*this, candidate, seed, stop);
  const std::vector<MlxProblemShape>& shapes = confirms ? options_.held_out_shapes : options_.shapes;
  const int pairs = confirms ? 3 * options_.pairs : options_.pairs;
  if (!TRY(cascade.build(confirms)) || !TRY(cascade.numerics()) || !TRY(cascade.microbenchmark(shapes, pairs)) || !TRY(cascade.training())) {
    return cascade.finish();
  }
  if (confirms) {
    const Judgement& judgement = cascade.judgement();
    cascade.set_detail("verdict", {{"speed", direction_of(judgement.log_speed)}, {"memory", direction_of(judgement.log_memory)}});
  }
  return cascade.finish();
}

Result<Judgement> MlxSourceJudge::judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  return run(candidate, seed, stop, false);
}

Result<Judgement> MlxSourceJudge::measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed, stop);
  if (!TRY(cascade.build(false))) return cascade.finish();
  TRY(cascade.microbenchmark(options_.shapes, options_.pairs));
  return cascade.finish();
}

Result<Judgement> MlxSourceJudge::confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  return run(candidate, seed ^ 0xC0F1C0F1C0F1C0F1ULL, stop, true);
}

}  // namespace evolora
