// The cascade over one candidate. Every gate returns whether to go on; what it found is in the judgement.
#include "evolve/judge/source_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "base/file_lock.h"
#include "evolve/judge/artifact_text.h"
#include "evolve/judge/library_check.h"
#include "evolve/judge/numerics_gate.h"
#include "evolve/judge/problem_shapes.h"
#include "evolve/judge/sandbox_compiler.h"
#include "evolve/pack/pack_change.h"
#include "evolve/pack/pack_parameters.h"
#include "evolve/random.h"
#include "evolve/timing_lease.h"
#include "kernels/pack/pack_rules.h"
#include "measure/estimators.h"

namespace evolora {
namespace {

constexpr std::size_t kReasonBytes = 400;
double now_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Keeps the compiler's words, of which compile_pack passes on the first only.
class ListeningCompiler final : public PackCompiler {
 public:
  explicit ListeningCompiler(std::unique_ptr<PackCompiler> compiler) : compiler_(std::move(compiler)) {}
  Result<std::string> fingerprint() override { return compiler_->fingerprint(); }
  Result<CompileOutcome> compile(const CompileRequest& request) override {
    CompileOutcome outcome = TRY(compiler_->compile(request));
    words = outcome.messages;
    return outcome;
  }
  std::string words;

 private:
  std::unique_ptr<PackCompiler> compiler_;
};

bool is_candidates_fault(const Error& error) { return error.code == ErrorCode::kBadData || error.code == ErrorCode::kTooLarge; }

}  // namespace

class SourceJudge::Cascade {
 public:
  // digest: mixed into the seed, so that no source can hold what the inputs of its own judging will be.
  Cascade(SourceJudge& judge, const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop)
      : judge_(judge), options_(judge.options_), candidate_(candidate), digest_(candidate.digest()), stop_(stop), start_(now_seconds()) {
    seed_ = Random(seed, std::stoull(digest_.substr(0, 16), nullptr, 16)).bits();
  }

  Result<bool> parse() {
    TRY(enter("parse"));
    pack_.manifest = options_.start.manifest;
    const PackSources& proposed = candidate_.sources.empty() ? options_.start.sources : candidate_.sources;
    const Status allowed = check_change(options_.start.sources, proposed);
    if (!allowed.ok()) return reject(allowed.error().message);
    auto sources = with_parameters(proposed, candidate_.genome);
    if (!sources.ok()) return reject(sources.error().message);
    pack_.sources = std::move(sources).value();
    std::size_t bytes = 0;
    for (const auto& [name, text] : pack_.sources) bytes += text.size();
    judgement_.cell = {std::clamp(static_cast<int>(std::bit_width(bytes / 1024)), 0, 6)};
    judgement_.details["source_bytes"] = bytes;
    return true;
  }

  Result<bool> rules() {
    TRY(enter("rules"));
    for (const auto& [name, text] : pack_.sources) {
      const Status status = check_pack_source(text, name);
      if (!status.ok()) return reject(status.error().message);
    }
    return true;
  }

  // force: also if the library is there already.
  Result<bool> compile(bool force) {
    TRY(enter("compile"));
    library_ = library_path(options_.work, pack_);
    if (!force && judge_.files_.exists(library_)) return look_at(library_);
    const fs::path folder = options_.work / "compile";
    TRY(judge_.files_.remove(folder));
    TRY(judge_.files_.create_directories(folder));
    ListeningCompiler compiler(sandboxed_pack_compiler(options_.isolation, stop_));
    const fs::path fresh = options_.work / "fresh.so";
    const Status compiled = compile_pack(judge_.files_, compiler, pack_, folder, fresh);
    TRY(judge_.files_.remove(folder));
    TRY(interrupted());
    if (!compiled.ok() && !is_candidates_fault(compiled.error())) return compiled.error();
    if (!compiled.ok()) return reject(compiled.error().message, compiler.words);
    if (!TRY(look_at(fresh))) {
      TRY(judge_.files_.remove(fresh));
      return false;
    }
    TRY(judge_.files_.rename(fresh, library_));
    return true;
  }

  Result<bool> numerics() {
    TRY(enter("numerics"));
    WorkerOptions options{.isolation = options_.isolation, .call_seconds = options_.call_seconds};
    auto runner = WorkerRunner::start(library_, options);
    if (!runner.ok() && !is_candidates_fault(runner.error())) return runner.error();
    if (!runner.ok()) return reject(runner.error().message);
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
    const double asked = now_seconds();
    const FileLock lease = TRY(FileLock::wait(timing_lease_path(), stop_));
    start_ += now_seconds() - asked;  // waiting for another search is no judging, and no part of a budget
    TRY(enter("microbenchmark"));
    const std::size_t bytes = most_call_bytes(shapes);
    WorkerOptions options{.isolation = options_.isolation,
                          .threads = options_.threads,
                          .call_seconds = options_.call_seconds,
                          .input_bytes = bytes,
                          .output_bytes = bytes};
    auto candidate = WorkerRunner::start(library_, options);
    if (!candidate.ok() && !is_candidates_fault(candidate.error())) return candidate.error();
    if (!candidate.ok()) return reject(candidate.error().message);
    fs::path baseline = options_.baseline;
    if (baseline.empty()) {
      baseline = TRY(judging_file("evolora_builtin_pack.so"));
      options.trust = PackTrust::kOwn;
    }
    const auto reference = WorkerRunner::start(baseline, options);
    if (!reference.ok()) return Error{ErrorCode::kDependency, fmt::format("{}: the baseline: {}", baseline.string(), reference.error().message)};
    const MicrobenchmarkPlan plan{.shapes = shapes, .threads = options_.threads, .pairs = pairs, .seed = seed_};
    MicrobenchmarkResult result = TRY(run_microbenchmark(**candidate, **reference, plan, stop_));
    judgement_.details["microbenchmark"] = std::move(result.details);
    if (!result.passed) {
      TRY(reject(result.reason));
      if (result.too_fast) judgement_.outcome = Outcome::kQuarantined;
      return false;
    }
    judgement_.log_speed = std::move(result.log_speed);
    judgement_.outcome = Outcome::kScored;
    return true;
  }

  Judgement finish() {
    judgement_.details["gates"] = gates_;
    judgement_.details["isolation"] = options_.isolation == Isolation::kSandbox ? "sandbox" : "none";
    judgement_.seconds = now_seconds() - start_;
    return std::move(judgement_);
  }
  const Judgement& judgement() const { return judgement_; }
  void set_detail(const char* name, nlohmann::ordered_json value) { judgement_.details[name] = std::move(value); }

 private:
  Result<bool> look_at(const fs::path& library) {
    const MappedFile mapped = TRY(judge_.files_.map(library));
    const auto problem = library_problem(mapped.bytes());
    if (problem.has_value()) return reject(*problem);
    const std::size_t bytes = mapped.bytes().size();
    judgement_.cell.push_back(std::clamp(static_cast<int>(std::bit_width(bytes / 1024)), 0, 12));
    judgement_.details["library_bytes"] = bytes;
    return true;
  }
  Status interrupted() const {
    if (stop_ != nullptr && stop_->load()) return Error{ErrorCode::kInterrupted, "interrupted"};
    return {};
  }
  Status enter(const char* gate) {
    TRY(interrupted());
    judgement_.gate = gate;
    gates_.push_back(gate);
    return {};
  }
  Result<bool> reject(const std::string& reason, const std::string& words = "") {
    judgement_.outcome = Outcome::kRejected;
    judgement_.reason = artifact_text(reason, kReasonBytes);
    for (char& c : judgement_.reason) {
      if (c == '\n' || c == '\t') c = ' ';
    }
    judgement_.artifact = artifact_text(words.empty() ? reason : words);
    return false;
  }

  SourceJudge& judge_;
  const SourceJudgeOptions& options_;
  const Candidate& candidate_;
  std::string digest_;
  const std::atomic<bool>* stop_;
  double start_;
  std::uint64_t seed_ = 0;
  KernelPack pack_;
  fs::path library_;
  Judgement judgement_;
  std::vector<std::string> gates_;
};

fs::path SourceJudge::library_path(const fs::path& work, const KernelPack& pack) { return work / (pack.digest().substr(0, 32) + ".so"); }

Result<std::unique_ptr<SourceJudge>> SourceJudge::create(FileSystem& files, SourceJudgeOptions options) {
  if (options.isolation == Isolation::kSandbox) {
    const Status available = sandbox_available();
    if (!available.ok()) {
      return Error{ErrorCode::kDependency, fmt::format("{}; without a sandbox no source is run that nobody read", available.error().message)};
    }
  }
  TRY(judging_file("evolora_pack_worker"));
  TRY(files.create_directories(options.work));
  options.work = fs::absolute(options.work);
  if (!options.baseline.empty()) options.baseline = fs::absolute(options.baseline);
  return std::unique_ptr<SourceJudge>(new SourceJudge(files, std::move(options)));
}

Result<Judgement> SourceJudge::judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed, stop);
  if (!TRY(cascade.parse()) || !TRY(cascade.rules()) || !TRY(cascade.compile(false)) || !TRY(cascade.numerics())) return cascade.finish();
  TRY(cascade.microbenchmark(options_.shapes, options_.pairs));
  return cascade.finish();
}

Result<Judgement> SourceJudge::measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed, stop);
  if (!TRY(cascade.parse()) || !TRY(cascade.rules()) || !TRY(cascade.compile(false))) return cascade.finish();
  TRY(cascade.microbenchmark(options_.shapes, options_.pairs));
  return cascade.finish();
}

Result<Judgement> SourceJudge::confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) {
  Cascade cascade(*this, candidate, seed ^ 0xC0F1C0F1C0F1C0F1ULL, stop);
  if (!TRY(cascade.parse()) || !TRY(cascade.rules()) || !TRY(cascade.compile(true)) || !TRY(cascade.numerics())) return cascade.finish();
  if (!TRY(cascade.microbenchmark(options_.held_out_shapes, 3 * options_.pairs))) return cascade.finish();
  const Summary summary = summarize(cascade.judgement().log_speed);
  const char* verdict = summary.interval.low > 0 ? "faster" : summary.interval.high < 0 ? "slower" : "no difference shown";
  cascade.set_detail("verdict", verdict);
  cascade.set_detail("mean_log_speed", {{"mean", summary.mean}, {"low", summary.interval.low}, {"high", summary.interval.high}});
  return cascade.finish();
}

}  // namespace evolora
