// Lines to records, records to pairs and figures.
#include "measure/sample_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <tuple>

#include "base/byte_size.h"
#include "base/json.h"

namespace evolora {
namespace {

void count_failure(const TrialRecord& record, std::size_t& failed, std::size_t& invalid, std::string& reason) {
  if (record.status == TrialStatus::kOk) return;
  ++(record.status == TrialStatus::kInvalid ? invalid : failed);
  if (reason.empty()) reason = record.reason;
}

}  // namespace

Result<SampleFile> SampleFile::open(FileSystem& files, const fs::path& path) {
  if (files.exists(path)) {
    const std::string text = TRY(files.read(path));
    if (!text.empty() && text.back() != '\n') {
      const std::size_t end = text.rfind('\n');
      TRY(write_file_atomically(files, path, std::string_view(text).substr(0, end == std::string::npos ? 0 : end + 1)));
    }
  }
  return SampleFile(TRY(files.append(path)));
}

Status SampleFile::append(const TrialRecord& record) {
  const std::string line = TRY(json_to_text(trial_to_json(record))) + "\n";
  TRY(file_->write(std::as_bytes(std::span(line))));
  return file_->sync();
}

Result<std::vector<TrialRecord>> read_samples(FileSystem& files, const fs::path& path, const std::string& plan_sha256) {
  std::vector<TrialRecord> records;
  if (!files.exists(path)) return records;
  const std::string text = TRY(files.read(path));
  std::size_t number = 0;
  std::set<std::tuple<ArmRole, std::size_t, std::size_t>> seen;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // cut off by a crash: never acknowledged
    const std::string source = fmt::format("{}:{}", path.string(), ++number);
    const auto json = parse_json(std::string_view(text).substr(begin, end - begin));
    if (!json.ok()) return Error{ErrorCode::kBadData, source + ": " + json.error().message};
    records.push_back(TRY(trial_from_json(*json, source)));
    if (records.back().plan_sha256 != plan_sha256) return Error{ErrorCode::kBadData, source + ": the trial belongs to another plan than plan.json"};
    const TrialRecord& trial = records.back();
    if (trial.status != TrialStatus::kInterrupted && !seen.emplace(trial.role, trial.pair, trial.attempt).second) {
      return Error{ErrorCode::kBadData, fmt::format("{}: a second record of attempt {} of the {} in pair {}; a trial is recorded once", source,
                                                    trial.attempt, word(trial.role), trial.pair)};
    }
    begin = end + 1;
  }
  return records;
}

std::vector<PairRecords> pairs_of(std::span<const TrialRecord> records) {
  std::map<std::pair<std::size_t, std::size_t>, PairRecords> attempts;
  for (const TrialRecord& record : records) {
    if (record.status == TrialStatus::kInterrupted) continue;
    PairRecords& pair = attempts[{record.pair, record.attempt}];
    pair.pair = record.pair;
    (record.role == ArmRole::kBaseline ? pair.baseline : pair.candidate) = &record;
  }
  std::map<std::size_t, PairRecords> latest;
  for (const auto& [key, pair] : attempts) {
    if (pair.baseline != nullptr && pair.candidate != nullptr) latest[key.first] = pair;
  }
  std::vector<PairRecords> out;
  for (const auto& [number, pair] : latest) out.push_back(pair);
  return out;
}

std::size_t attempts_of(std::span<const TrialRecord> records, std::size_t pair) {
  std::size_t attempts = 0;
  for (const TrialRecord& record : records) {
    if (record.pair == pair) attempts = std::max(attempts, record.attempt + 1);
  }
  return attempts;
}

std::vector<SamplePair> samples_of(std::span<const PairRecords> pairs) {
  std::vector<SamplePair> out;
  for (const PairRecords& pair : pairs) {
    if (pair.pair > 0 && pair.both_ok()) out.push_back({pair.pair, pair.baseline->sample, pair.candidate->sample});
  }
  return out;
}

TrialFailures failures_of(std::span<const PairRecords> pairs) {
  TrialFailures failures;
  for (const PairRecords& pair : pairs) {
    count_failure(*pair.baseline, failures.baseline_failed, failures.baseline_invalid, failures.baseline_reason);
    count_failure(*pair.candidate, failures.candidate_failed, failures.candidate_invalid, failures.candidate_reason);
  }
  return failures;
}

std::vector<FigureSummary> figures_of(std::span<const TrialRecord* const> trials, double confidence) {
  using Figure = std::function<std::optional<double>(const TrialRecord&)>;
  const auto per_token = [](const TrialRecord& r, double value) -> std::optional<double> {
    if (!r.sample.tokens || *r.sample.tokens <= 0) return std::nullopt;
    return value / static_cast<double>(*r.sample.tokens);
  };
  const std::vector<std::pair<std::string, Figure>> figures = {
      {"final training loss", [](const TrialRecord& r) { return r.sample.train_loss; }},
      {"validation loss", [](const TrialRecord& r) { return r.sample.val_loss; }},
      {"time s", [](const TrialRecord& r) { return std::optional(r.sample.wall_seconds); }},
      {"training time s", [](const TrialRecord& r) { return r.training_seconds > 0 ? std::optional(r.training_seconds) : std::nullopt; }},
      {"processor time s", [](const TrialRecord& r) { return std::optional(r.cpu_seconds); }},
      {"tokens per s",
       [&](const TrialRecord& r) -> std::optional<double> {
         const auto seconds = per_token(r, r.sample.wall_seconds);
         return seconds && *seconds > 0 ? std::optional(1 / *seconds) : std::nullopt;
       }},
      {"peak memory MB", [](const TrialRecord& r) { return std::optional(r.sample.peak_bytes / kMegabyte); }},
      {"MB per token", [&](const TrialRecord& r) { return per_token(r, r.sample.peak_bytes / kMegabyte); }},
  };
  std::vector<FigureSummary> out;
  for (const auto& [name, figure] : figures) {
    std::vector<double> values;
    for (const TrialRecord* trial : trials) {
      if (trial->status != TrialStatus::kOk) continue;
      if (const auto value = figure(*trial)) values.push_back(*value);
    }
    if (!values.empty()) out.push_back({name, summarize(values, confidence)});
  }
  return out;
}

}  // namespace evolora
