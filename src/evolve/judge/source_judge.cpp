// The gates after the library: numerics and time.
#include "evolve/judge/source_judge.h"

#include <fmt/format.h>

#include "evolve/judge/numerics_gate.h"
#include "evolve/judge/pack_gates.h"
#include "evolve/judge/problem_shapes.h"
#include "evolve/judge/worker_runner.h"
#include "measure/estimators.h"

namespace evolora {

class SourceJudge::Cascade : public PackGates {
 public:
  Cascade(SourceJudge& judge, const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop)
      : PackGates(judge.files_, {judge.options_.start, judge.options_.work, judge.options_.isolation}, candidate, seed, stop),
        options_(judge.options_) {}

  Result<bool> numerics() {
    TRY(enter("numerics"));
    WorkerOptions options{.isolation = options_.isolation, .call_seconds = options_.call_seconds};
    auto runner = WorkerRunner::start(library_, options);
    if (!TRY(started(runner))) return false;
    for (const LoraDirection direction : {LoraDirection::kForward, LoraDirection::kBackward}) {
      const std::string slot = std::string("lora_linear_") + word(direction);
      if ((*runner)->serves(direction) != options_.start.manifest.serves(slot)) {
        return reject(fmt::format("it {} evolora_{}, which {} among the pack's slots", (*runner)->serves(direction) ? "defines" : "does not define",
                                  slot, options_.start.manifest.serves(slot) ? "is" : "is not"));
      }
    }
    const GateResult result = TRY(judge_numerics(**runner, seed_));
    if (result.gate == "determinism") TRY(enter("determinism"));
    judgement_.details["numerics_calls"] = result.calls;
    if (!result.passed) return reject(result.reason);
    return true;
  }

  Result<bool> microbenchmark(const std::vector<ProblemShape>& shapes, int pairs) {
    const FileLock lease = TRY(wait_for_machine());
    TRY(enter("microbenchmark"));
    const std::size_t bytes = most_call_bytes(shapes);
    const bool own = options_.baseline.empty();
    const fs::path baseline = own ? TRY(judging_file("evolora_builtin_pack.so")) : options_.baseline;
    const MicrobenchmarkArms arms{
        .candidate = [&](std::uint64_t layout) { return start_timed(library_, PackTrust::kCandidate, bytes, layout); },
        .baseline = [&](std::uint64_t layout) -> Started {
          auto worker = start_timed(baseline, own ? PackTrust::kOwn : PackTrust::kCandidate, bytes, layout);
          if (worker.ok()) return worker;
          return Error{ErrorCode::kDependency, fmt::format("{}: the baseline: {}", baseline.string(), worker.error().message)};
        }};
    const MicrobenchmarkPlan plan{.shapes = shapes, .threads = options_.threads, .pairs = pairs, .seed = seed_};
    MicrobenchmarkResult result = TRY(run_microbenchmark(arms, plan, stop_));
    judgement_.details["microbenchmark"] = std::move(result.details);
    if (!result.passed) return refuse_times(result.reason, result.too_fast);
    judgement_.log_speed = std::move(result.log_speed);
    judgement_.outcome = Outcome::kScored;
    return true;
  }

 private:
  using Started = Result<std::unique_ptr<TimedRunner>>;

  // From a copy of its own: the pages that a file was read into are those of every process that loads it, and would be luck that stays with an arm.
  Started start_timed(const fs::path& library, PackTrust trust, std::size_t bytes, std::uint64_t layout) {
    const fs::path copy = options_.work / "timed.so";
    const MappedFile content = TRY(files_.map(library));
    const std::unique_ptr<WritableFile> file = TRY(files_.create(copy));
    TRY(file->write(content.bytes()));
    TRY(file->close());
    const WorkerOptions options{.isolation = options_.isolation,
                                .trust = trust,
                                .threads = options_.threads,
                                .call_seconds = options_.call_seconds,
                                .input_bytes = bytes,
                                .output_bytes = bytes,
                                .layout = layout};
    auto worker = WorkerRunner::start(copy, options);
    TRY(files_.remove(copy));
    return std::unique_ptr<TimedRunner>(TRY(std::move(worker)));
  }

  const SourceJudgeOptions& options_;
};

Result<std::unique_ptr<SourceJudge>> SourceJudge::create(FileSystem& files, SourceJudgeOptions options) {
  options.work = TRY(open_pack_judging(files, options.work, options.isolation, "evolora_pack_worker"));
  if (!options.baseline.empty()) options.baseline = fs::absolute(options.baseline);
  return std::unique_ptr<SourceJudge>(new SourceJudge(files, std::move(options)));
}

Result<Judgement> SourceJudge::judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed, stop);
  if (!TRY(cascade.build(false)) || !TRY(cascade.numerics())) return cascade.finish();
  TRY(cascade.microbenchmark(options_.shapes, options_.pairs));
  return cascade.finish();
}

Result<Judgement> SourceJudge::measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed, stop);
  if (!TRY(cascade.build(false))) return cascade.finish();
  TRY(cascade.microbenchmark(options_.shapes, options_.pairs));
  return cascade.finish();
}

Result<Judgement> SourceJudge::confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed ^ 0xC0F1C0F1C0F1C0F1ULL, stop);
  if (!TRY(cascade.build(true)) || !TRY(cascade.numerics())) return cascade.finish();
  if (!TRY(cascade.microbenchmark(options_.held_out_shapes, 3 * options_.pairs))) return cascade.finish();
  const Summary summary = summarize(cascade.judgement().log_speed);
  const char* verdict = summary.interval.low > 0 ? "faster" : summary.interval.high < 0 ? "slower" : "no difference shown";
  cascade.set_detail("verdict", verdict);
  cascade.set_detail("mean_log_speed", {{"mean", summary.mean}, {"low", summary.interval.low}, {"high", summary.interval.high}});
  return cascade.finish();
}

}  // namespace evolora
