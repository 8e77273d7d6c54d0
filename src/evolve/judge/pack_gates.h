// The gates that packs of every target go through: parse, rules, compile. A judge's cascade goes on from there.
#pragma once

#include <atomic>
#include <string>
#include <vector>

#include "base/file_lock.h"
#include "base/file_system.h"
#include "evolve/judge.h"
#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

struct PackGateOptions {
  const KernelPack& start;  // the pack that is searched: its slots and files, and what candidates may change of it
  fs::path work;            // a folder of the judge's own; libraries are kept in it, by digest
  Isolation isolation = Isolation::kSandbox;
};

// The library that the gate compile left, or leaves, in the folder `work`.
fs::path gated_library_path(const fs::path& work, const KernelPack& pack);

// For a judge's `create`: kDependency where nothing can be sandboxed (unless isolation asks for nothing) or the worker program is missing. Makes the
// folder `work`, and returns its absolute path.
Result<fs::path> open_pack_judging(FileSystem& files, const fs::path& work, Isolation isolation, const char* worker);

// Of one candidate. Every gate returns whether to go on; what it found is in the judgement. Errors: kInterrupted, and the judge's own failures.
class PackGates {
 public:
  // The seed of everything hidden is mixed with the candidate's digest, so that no source can hold what the inputs of its own judging will be.
  PackGates(FileSystem& files, PackGateOptions options, const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop);

  // parse, rules, compile: what leaves library_. force: compile also if the library is there already.
  Result<bool> build(bool force);

  // With gates, isolation and seconds; the last call.
  Judgement finish();
  const Judgement& judgement() const { return judgement_; }
  void set_detail(const char* name, nlohmann::ordered_json value) { judgement_.details[name] = std::move(value); }

 protected:
  Status enter(const char* gate);
  // The timing lease (evolve/timing_lease.h). Waiting for another search is no judging, and no part of its seconds.
  Result<FileLock> wait_for_machine();
  // words: for the artifact, if there is more to say than the reason. Returns false.
  Result<bool> reject(const std::string& reason, const std::string& words = "");
  // Whether a worker of the candidate's started: rejects it if that is its own fault, and is an error if not.
  template <typename Worker>
  Result<bool> started(const Result<Worker>& worker) {
    if (worker.ok()) return true;
    if (!is_candidates_fault(worker.error())) return worker.error();
    return reject(worker.error().message);
  }
  // After a micro-benchmark that did not pass. Returns false.
  Result<bool> refuse_times(const std::string& reason, bool too_fast);

  FileSystem& files_;
  PackGateOptions gate_options_;
  const std::atomic<bool>* stop_;
  std::uint64_t seed_ = 0;
  fs::path library_;  // after compile
  Judgement judgement_;

 private:
  Result<bool> parse();
  Result<bool> rules();
  Result<bool> compile(bool force);
  static bool is_candidates_fault(const Error& error) { return error.code == ErrorCode::kBadData || error.code == ErrorCode::kTooLarge; }
  Result<bool> look_at(const fs::path& library);
  Status interrupted() const;

  const Candidate& candidate_;
  double start_;
  KernelPack pack_;
  std::vector<std::string> gates_;
};

}  // namespace evolora
