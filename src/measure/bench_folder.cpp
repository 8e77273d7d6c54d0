// Reading what a bench left.
#include "measure/bench_folder.h"

#include <fmt/format.h>

#include "base/json.h"
#include "measure/sample_file.h"

namespace evolora {

using Json = nlohmann::ordered_json;

Result<BenchPlan> read_bench_plan(FileSystem& files, const fs::path& folder) {
  const fs::path path = folder / "plan.json";
  return plan_from_json(TRY(read_json_object(files, path)), path.string());
}

Result<BenchFolder> read_bench_folder(FileSystem& files, const fs::path& folder) {
  BenchFolder bench;
  bench.plan = TRY(read_bench_plan(files, folder));
  bench.records = TRY(read_samples(files, folder / "samples.jsonl", plan_digest(bench.plan)));
  return bench;
}

std::vector<const TrialRecord*> trials_of(BenchDesign design, std::span<const TrialRecord> records, ArmRole role) {
  std::vector<const TrialRecord*> out;
  if (design == BenchDesign::kPaired) {
    for (const PairRecords& pair : pairs_of(records)) {
      if (pair.pair > 0) out.push_back(role == ArmRole::kBaseline ? pair.baseline : pair.candidate);
    }
    return out;
  }
  for (const TrialRecord& record : records) {
    if (record.role == role && record.status != TrialStatus::kInterrupted) out.push_back(&record);
  }
  return out;
}

Result<bool> kept_verdict_agrees(FileSystem& files, const fs::path& folder, BenchDesign design, const Json& now) {
  const fs::path path = folder / "verdict.json";
  if (!files.exists(path)) return false;
  const Json kept = TRY(read_json_object(files, path));
  const char* key = design == BenchDesign::kPaired ? "decision" : "class";
  if (kept.value(key, Json()) == now[key]) return true;
  return Error{ErrorCode::kBadData,
               fmt::format("{}: says {}, but its samples say {}", path.string(), kept.value(key, Json()).dump(), now[key].dump())};
}

}  // namespace evolora
