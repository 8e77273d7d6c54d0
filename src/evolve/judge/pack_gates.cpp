// From sources to a library that was looked at.
#include "evolve/judge/pack_gates.h"

#include <algorithm>
#include <bit>

#include "evolve/judge/artifact_text.h"
#include "evolve/judge/library_check.h"
#include "evolve/judge/sandbox_compiler.h"
#include "evolve/judge/worker_connection.h"
#include "evolve/pack/pack_change.h"
#include "evolve/pack/pack_parameters.h"
#include "evolve/random.h"
#include "evolve/timing_lease.h"
#include "kernels/pack/pack_rules.h"
#include "train/clock.h"

namespace evolora {
namespace {

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

}  // namespace

fs::path gated_library_path(const fs::path& work, const KernelPack& pack) { return work / (pack.digest().substr(0, 32) + ".so"); }

PackGates::PackGates(FileSystem& files, PackGateOptions options, const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop)
    : files_(files), gate_options_(std::move(options)), stop_(stop), candidate_(candidate), start_(monotonic_seconds()) {
  seed_ = Random(seed, std::stoull(candidate.digest().substr(0, 16), nullptr, 16)).bits();
}

Result<fs::path> open_pack_judging(FileSystem& files, const fs::path& work, Isolation isolation, const char* worker) {
  TRY(check_isolation(isolation));
  TRY(judging_file(worker));
  TRY(files.create_directories(work));
  return fs::absolute(work);
}

Result<bool> PackGates::build(bool force) { return TRY(parse()) && TRY(rules()) && TRY(compile(force)); }

Result<bool> PackGates::parse() {
  TRY(enter("parse"));
  pack_.manifest = gate_options_.start.manifest;
  const PackSources& proposed = candidate_.sources.empty() ? gate_options_.start.sources : candidate_.sources;
  const Status allowed = check_change(gate_options_.start.sources, proposed);
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

Result<bool> PackGates::rules() {
  TRY(enter("rules"));
  for (const auto& [name, text] : pack_.sources) {
    const Status status = check_pack_source(text, name, pack_.manifest.target);
    if (!status.ok()) return reject(status.error().message);
  }
  return true;
}

Result<bool> PackGates::compile(bool force) {
  TRY(enter("compile"));
  library_ = gated_library_path(gate_options_.work, pack_);
  if (!force && files_.exists(library_)) return look_at(library_);
  const fs::path folder = gate_options_.work / "compile";
  TRY(files_.remove(folder));
  TRY(files_.create_directories(folder));
  ListeningCompiler compiler(sandboxed_pack_compiler(gate_options_.isolation, stop_));
  const fs::path fresh = gate_options_.work / "fresh.so";
  const Status compiled = compile_pack(files_, compiler, pack_, folder, fresh);
  TRY(files_.remove(folder));
  TRY(interrupted());
  if (!compiled.ok() && !is_candidates_fault(compiled.error())) return compiled.error();
  if (!compiled.ok()) return reject(compiled.error().message, compiler.words);
  if (!TRY(look_at(fresh))) {
    TRY(files_.remove(fresh));
    return false;
  }
  TRY(files_.rename(fresh, library_));
  return true;
}

Result<bool> PackGates::look_at(const fs::path& library) {
  const MappedFile mapped = TRY(files_.map(library));
  const auto problem = library_problem(mapped.bytes(), pack_.manifest.target);
  if (problem.has_value()) return reject(*problem);
  const std::size_t bytes = mapped.bytes().size();
  judgement_.cell.push_back(std::clamp(static_cast<int>(std::bit_width(bytes / 1024)), 0, 12));
  judgement_.details["library_bytes"] = bytes;
  return true;
}

Judgement PackGates::finish() {
  judgement_.details["gates"] = gates_;
  judgement_.details["isolation"] = gate_options_.isolation == Isolation::kSandbox ? "sandbox" : "none";
  judgement_.seconds = monotonic_seconds() - start_;
  return std::move(judgement_);
}

Status PackGates::interrupted() const {
  if (stop_ != nullptr && stop_->load()) return Error{ErrorCode::kInterrupted, "interrupted"};
  return {};
}

Result<FileLock> PackGates::wait_for_machine() {
  const double asked = monotonic_seconds();
  FileLock lease = TRY(FileLock::wait(timing_lease_path(), stop_));
  start_ += monotonic_seconds() - asked;
  return lease;
}

Status PackGates::enter(const char* gate) {
  TRY(interrupted());
  judgement_.gate = gate;
  gates_.push_back(gate);
  return {};
}

Result<bool> PackGates::refuse_times(const std::string& reason, bool too_fast) {
  TRY(reject(reason));
  if (too_fast) judgement_.outcome = Outcome::kQuarantined;
  return false;
}

Result<bool> PackGates::reject(const std::string& reason, const std::string& words) {
  judgement_.outcome = Outcome::kRejected;
  judgement_.reason = artifact_line(reason);
  judgement_.artifact = artifact_text(words.empty() ? reason : words);
  return false;
}

}  // namespace evolora
