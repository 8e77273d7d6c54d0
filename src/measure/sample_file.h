// samples.jsonl: one line per trial, written when the trial is over and never changed. And what is in it: pairs, failures, the table of an arm.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "measure/trial.h"

namespace evolora {

// Opens for appending. A last line that a crash cut off is removed first.
class SampleFile {
 public:
  static Result<SampleFile> open(FileSystem& files, const fs::path& path);
  Status append(const TrialRecord& record);  // on the device when it returns

 private:
  explicit SampleFile(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}
  std::unique_ptr<WritableFile> file_;
};

// All complete lines. A file that does not exist is empty. kBadData "PATH:LINE: ..." for a line that is no record, one of another plan, or of
// a trial that has one already.
Result<std::vector<TrialRecord>> read_samples(FileSystem& files, const fs::path& path, const std::string& plan_sha256);

// Both trials of a pair, of its latest attempt in which neither was interrupted.
struct PairRecords {
  std::size_t pair = 0;
  const TrialRecord* baseline = nullptr;
  const TrialRecord* candidate = nullptr;
  bool both_ok() const { return baseline->status == TrialStatus::kOk && candidate->status == TrialStatus::kOk; }
};
// Complete pairs in order, the warm-up (0) included. Points into records.
std::vector<PairRecords> pairs_of(std::span<const TrialRecord> records);
// Attempts of a pair so far, complete or not.
std::size_t attempts_of(std::span<const TrialRecord> records, std::size_t pair);

// What judge_pairs takes: the warm-up is no sample, but a failure in it counts.
std::vector<SamplePair> samples_of(std::span<const PairRecords> pairs);
TrialFailures failures_of(std::span<const PairRecords> pairs);

// Mean, sd and interval of every figure of an arm's valid trials. A figure that no trial has is left out.
struct FigureSummary {
  std::string name;  // "final training loss", ...
  Summary summary;
};
std::vector<FigureSummary> figures_of(std::span<const TrialRecord* const> trials, double confidence = 0.95);

}  // namespace evolora
