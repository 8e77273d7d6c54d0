// Phases, Welch tests and the scores.
#include "measure/sequential_design.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;
using Metric = std::function<std::optional<double>(const TrialRecord&)>;

constexpr double kSignificant = 0.05;
constexpr double kClearGain = 1.10;
constexpr double kStrongGain = 1.15;
constexpr double kLostAt = 0.10;  // a loss this much worse has convergence score 0

std::vector<double> values_of(std::span<const TrialRecord> records, ArmRole role, const Metric& metric) {
  std::vector<double> out;
  for (const TrialRecord& record : records) {
    if (record.role != role || record.status != TrialStatus::kOk) continue;
    if (const auto value = metric(record)) out.push_back(*value);
  }
  return out;
}

const MetricComparison* find(const SequentialReport& report, const char* name) {
  for (const MetricComparison& metric : report.metrics) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

void compare(SequentialReport& report, std::span<const TrialRecord> records, const char* name, bool larger_is_better, const Metric& metric) {
  const std::vector<double> baseline = values_of(records, ArmRole::kBaseline, metric);
  const std::vector<double> candidate = values_of(records, ArmRole::kCandidate, metric);
  if (baseline.size() < 2 || candidate.size() < 2) return;
  MetricComparison out{.name = name, .baseline = summarize(baseline), .candidate = summarize(candidate)};
  const double better = larger_is_better ? out.candidate.mean : out.baseline.mean;
  const double worse = larger_is_better ? out.baseline.mean : out.candidate.mean;
  out.improvement = worse > 0 ? better / worse : 1;
  out.p = welch_t(baseline, candidate).p;
  out.significant = out.p < kSignificant;
  report.metrics.push_back(out);
}

// Improvement as far as it is proven: grows with both, and noise is never a reward.
double weighted(const MetricComparison* metric) { return metric == nullptr ? 1 : 1 + (metric->improvement - 1) * (1 - metric->p); }

std::string class_of(const SequentialReport& report) {
  if (!report.loss_converged) return "NOT THE SAME LOSS: no comparison of speed or memory counts";
  const MetricComparison* time = find(report, "time");
  const MetricComparison* memory = find(report, "peak_memory");
  const auto gains = [](const MetricComparison* metric, double gain) {
    return metric != nullptr && metric->significant && metric->improvement >= gain;
  };
  const auto loses = [](const MetricComparison* metric) { return metric != nullptr && metric->significant && metric->improvement <= 1 / kClearGain; };
  if (gains(time, kStrongGain) && gains(memory, kStrongGain)) return "STRONG: time and memory both better by 15 % or more, p < 0.05, same loss";
  if (loses(time) || loses(memory)) return "MIXED OR WORSE: time or memory worse by 10 % or more, p < 0.05";
  if (gains(time, kClearGain) || gains(memory, kClearGain)) return "IMPROVED: time or memory better by 10 % or more, p < 0.05, same loss";
  return "NO CLEAR DIFFERENCE: neither time nor memory better by 10 % with p < 0.05";
}

}  // namespace

const char* drift_warning() {
  return "All baseline trials ran before all candidate trials: whatever changed on the machine in between (heat, load, clock frequency) is in the "
         "difference. With 3 % of drift "
         "and 1 % of noise this design calls identical code different in about half of all benches at n = 5. Use the paired design for a claim.";
}

SequentialReport report_sequential(const BenchPlan& plan, std::span<const TrialRecord> all) {
  // A trial that was interrupted and run again has two records; the interrupted one is no trial.
  std::vector<TrialRecord> records;
  for (const TrialRecord& record : all) {
    if (record.status != TrialStatus::kInterrupted) records.push_back(record);
  }
  SequentialReport report;
  report.trials = plan.trials;
  for (const TrialRecord& record : records) {
    if (record.status == TrialStatus::kOk) ++(record.role == ArmRole::kBaseline ? report.baseline_ok : report.candidate_ok);
  }
  compare(report, records, "time", false, [](const TrialRecord& r) { return std::optional(r.sample.wall_seconds); });
  compare(report, records, "tokens_per_second", true, [](const TrialRecord& r) -> std::optional<double> {
    if (!r.sample.tokens) return std::nullopt;
    return static_cast<double>(*r.sample.tokens) / r.sample.wall_seconds;
  });
  compare(report, records, "memory_delta", false, [](const TrialRecord& r) { return std::optional(r.memory_delta_bytes); });
  compare(report, records, "peak_memory", false, [](const TrialRecord& r) { return std::optional(r.sample.peak_bytes); });
  compare(report, records, "final_loss", false, [](const TrialRecord& r) { return r.sample.train_loss; });

  const MetricComparison* loss = find(report, "final_loss");
  if (loss == nullptr) {
    report.reason = fmt::format("fewer than two successful trials in an arm (baseline {}, candidate {} of {})", report.baseline_ok,
                                report.candidate_ok, report.trials);
    report.verdict_class = "NO COMPARISON: " + report.reason;
    return report;
  }
  const double excess = (loss->candidate.mean - loss->baseline.mean) / loss->baseline.mean;
  const double margin = plan.rules.loss_margin;
  report.loss_converged = std::abs(excess) <= margin;
  report.convergence_score = std::clamp(1 - (excess - margin) / (kLostAt - margin), 0.0, 1.0);
  report.efficiency_score = (weighted(find(report, "time")) + weighted(find(report, "peak_memory"))) / 2;
  report.overall_score = report.loss_converged ? report.efficiency_score * report.convergence_score : 0;
  report.verdict_class = class_of(report);
  return report;
}

Json report_to_json(const SequentialReport& report) {
  const auto summary = [](const Summary& s) {
    return Json{{"n", s.n}, {"mean", s.mean}, {"sd", s.sd}, {"interval", {s.interval.low, s.interval.high}}};
  };
  Json json = {{"design", "sequential"},
               {"baseline_ok", report.baseline_ok},
               {"candidate_ok", report.candidate_ok},
               {"trials", report.trials},
               {"loss_converged", report.loss_converged},
               {"convergence_score", report.convergence_score},
               {"efficiency_score", report.efficiency_score},
               {"overall_score", report.overall_score},
               {"class", report.verdict_class},
               {"warning", drift_warning()},
               {"metrics", Json::array()}};
  for (const MetricComparison& metric : report.metrics) {
    json["metrics"].push_back({{"name", metric.name},
                               {"baseline", summary(metric.baseline)},
                               {"candidate", summary(metric.candidate)},
                               {"improvement", metric.improvement},
                               {"p", metric.p},
                               {"significant", metric.significant}});
  }
  return json;
}

Status run_sequential_bench(FileSystem& files, const fs::path& folder, const BenchPlan& plan, std::vector<TrialRecord>& records,
                            BenchObserver& observer, const std::atomic<bool>* stop) {
  TrialRunner runner = TRY(TrialRunner::create(files, folder, plan));
  SampleFile samples = TRY(SampleFile::open(files, folder / "samples.jsonl"));
  for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) {
    for (std::size_t index = 0; index < plan.trials; ++index) {
      const auto same_place = [&](const TrialRecord& r) { return r.role == role && r.pair == index; };
      const auto done = [&](const TrialRecord& r) { return same_place(r) && r.status != TrialStatus::kInterrupted; };
      if (std::any_of(records.begin(), records.end(), done)) continue;
      TrialPlace place{.role = role, .index = index};
      place.attempt = static_cast<std::size_t>(std::count_if(records.begin(), records.end(), same_place));
      const std::size_t left = plan.trials - index;
      observer.on_trial_start(place, seconds_for(records, role == ArmRole::kBaseline ? left : 0, role == ArmRole::kBaseline ? plan.trials : left));
      records.push_back(TRY(runner.run(place, stop)));
      TRY(samples.append(records.back()));
      observer.on_trial_end(records.back());
      if (records.back().status == TrialStatus::kInterrupted || (stop != nullptr && stop->load())) {
        return Error{ErrorCode::kInterrupted, fmt::format("interrupted; finished trials are kept in {}: continue with --resume", folder.string())};
      }
    }
  }
  return {};
}

}  // namespace evolora
