// Reading what a bench left.
#include "measure/bench_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "measure/sample_file.h"

namespace evolora {

using Json = nlohmann::ordered_json;

namespace {

// Equal but for the last bits of numbers, where another machine's exp and log may differ.
bool same_figures(const Json& a, const Json& b) {
  constexpr double kRelative = 1e-9;
  if (a.is_number() && b.is_number()) {
    const auto x = a.get<double>();
    const auto y = b.get<double>();
    return std::abs(x - y) <= kRelative * std::max(std::abs(x), std::abs(y));
  }
  if (a.is_structured() && a.type() == b.type()) {
    if (a.size() != b.size()) return false;
    if (a.is_array()) return std::equal(a.begin(), a.end(), b.begin(), same_figures);
    return std::all_of(a.items().begin(), a.items().end(),
                       [&](const auto& item) { return b.contains(item.key()) && same_figures(item.value(), b[item.key()]); });
  }
  return a == b;
}

}  // namespace

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

Result<bool> kept_verdict_agrees(FileSystem& files, const fs::path& folder, const Json& now) {
  const fs::path path = folder / "verdict.json";
  if (!files.exists(path)) return false;
  const Json kept = TRY(read_json_object(files, path));
  const Json computed = TRY(parse_json(now.dump()));  // through text, as the kept one came: what JSON has no number for is null in both
  for (const auto& [key, value] : computed.items()) {
    if (same_figures(kept.value(key, Json()), value)) continue;
    const std::string says = kept.value(key, Json()).dump();
    const std::string should = value.dump();
    constexpr std::size_t kMost = 60;  // of a whole block the message only says that it is another one
    if (says.size() + should.size() > kMost) {
      return Error{ErrorCode::kBadData, fmt::format("{}: '{}' is not what the samples give", path.string(), key)};
    }
    return Error{ErrorCode::kBadData, fmt::format("{}: '{}' is {}, but the samples give {}", path.string(), key, says, should)};
  }
  return true;
}

}  // namespace evolora
