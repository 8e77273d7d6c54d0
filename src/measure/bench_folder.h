// A bench as it lies on disk: plan.json, samples.jsonl and, once it has ended, verdict.json.
#pragma once

#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "measure/bench_plan.h"

namespace evolora {

struct BenchFolder {
  BenchPlan plan;
  std::vector<TrialRecord> records;  // in the order in which they ran
};

// Errors of reading; kBadData naming file and field.
Result<BenchPlan> read_bench_plan(FileSystem& files, const fs::path& folder);
Result<BenchFolder> read_bench_folder(FileSystem& files, const fs::path& folder);

// Trials of an arm that its tables count: paired, of complete pairs without the warm-up; sequential, all that were not interrupted. Points into
// records.
std::vector<const TrialRecord*> trials_of(BenchDesign design, std::span<const TrialRecord> records, ArmRole role);

// Does verdict.json hold what the samples give, figure by figure? now: verdict_to_json or report_to_json of them. False if there is no verdict.json;
// kBadData naming the first figure that is another.
Result<bool> kept_verdict_agrees(FileSystem& files, const fs::path& folder, const nlohmann::ordered_json& now);

}  // namespace evolora
