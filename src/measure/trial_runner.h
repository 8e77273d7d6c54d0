// Runs one trial: request in, process out, record kept. Every trial has a folder of its own under the bench's: request.json, run.json, metrics.jsonl,
// output and errors.
#pragma once

#include <atomic>
#include <string>

#include "base/file_system.h"
#include "measure/applied_proof.h"
#include "measure/bench_plan.h"
#include "measure/child_process.h"
#include "measure/trial.h"

namespace evolora {

// Which trial.
struct TrialPlace {
  ArmRole role = ArmRole::kBaseline;
  std::size_t index = 0;  // pair, or number in its arm
  std::size_t attempt = 0;
  bool warmup = false;
  int position = 0;
};

// Starts trials of this program in another way than directly, in a sandbox for instance.
class TrialLauncher {
 public:
  virtual ~TrialLauncher() = default;
  // What is started instead of `child`, which trains by folder/request.json and writes in folder, the trial's own, an absolute path. Valid until the
  // next call.
  virtual Result<ChildRequest> prepare(ChildRequest child, const fs::path& folder) = 0;
};

class TrialRunner {
 public:
  // folder: of the bench. Checks both arms against program and model before anything runs. plan, files and launcher (null: directly) outlive the
  // runner.
  static Result<TrialRunner> create(FileSystem& files, const fs::path& folder, const BenchPlan& plan, TrialLauncher* launcher = nullptr);

  // What went wrong in the trial is in its record; an Error is a failure of the bench itself (disk full, program missing).
  // stop may be null.
  Result<TrialRecord> run(const TrialPlace& place, const std::atomic<bool>* stop);

  // Peak memory of the arm's program that loads nothing (evolora --version), measured once; 0 for external commands.
  Result<std::size_t> idle_bytes(ArmRole role);

 private:
  TrialRunner(FileSystem& files, fs::path folder, const BenchPlan& plan, TrialLauncher* launcher)
      : files_(&files), folder_(std::move(folder)), plan_(&plan), launcher_(launcher) {}
  Status prepare();
  Status collect_own(const fs::path& folder, TrialRecord& record);
  Status collect_external(const Arm& arm, const fs::path& folder, TrialRecord& record);

  FileSystem* files_;
  fs::path folder_;
  const BenchPlan* plan_;
  TrialLauncher* launcher_;
  std::string digest_;
  AppliedExpectation expected_[2];
  std::size_t idle_bytes_[2] = {0, 0};
};

// Does what a child says about itself agree with what its parent measured? Nothing if so; else "CODE: details" with code clock_disagrees or
// memory_disagrees.
std::optional<std::string> contradiction(const nlohmann::ordered_json& run, double wall_seconds, double peak_bytes);

}  // namespace evolora
