// The paired design: pairs of fresh processes with the same seed, data order and initial adapter, order shuffled inside each pair, looked at only
// when the plan says so.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "measure/bench_plan.h"
#include "measure/sample_file.h"
#include "measure/trial_runner.h"

namespace evolora {

// What a bench tells while it runs.
class BenchObserver {
 public:
  virtual ~BenchObserver() = default;
  virtual void on_trial_start(const TrialPlace& /*place*/, double /*seconds_left*/) {}
  virtual void on_trial_end(const TrialRecord& /*record*/) {}
  virtual void on_look(const Verdict& /*verdict*/, std::size_t /*look*/) {}
};

struct Assessment {
  Verdict verdict;
  bool finished = false;  // the plan's rule has decided: no more trials
};

// What these records say under this plan: the verdict of the first look that ended the bench, else of the pairs so far (then nothing is ACCEPTed,
// because the plan did not look there). The same function decides during a run and in a verification.
Assessment assess(const BenchPlan& plan, std::span<const TrialRecord> records);

// Runs trials until the plan's rule decides, appending to samples.jsonl in folder. records: of an earlier run, extended. kInterrupted when stopped:
// what is finished is in the file. Errors of the disk. launcher: of the trials, null: directly.
Result<Assessment> run_paired_bench(FileSystem& files, const fs::path& folder, const BenchPlan& plan, std::vector<TrialRecord>& records,
                                    BenchObserver& observer, const std::atomic<bool>* stop, TrialLauncher* launcher = nullptr);

// Seconds that `trials` more trials of each arm would take, from the means so far; 0: nothing to go by.
double seconds_for(std::span<const TrialRecord> records, std::size_t baseline_trials, std::size_t candidate_trials);

}  // namespace evolora
