// The classic protocol: all trials of the baseline, then all of the candidate, other seeds for each, Welch's test per metric. Offered because people
// expect it. It cannot tell a slower candidate from a machine that became warmer or busier between the two phases: with 3 % drift over the session
// and 1 % noise, five trials per arm call identical code different in about half of all benches, and more trials make it worse.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "measure/paired_bench.h"

namespace evolora {

struct MetricComparison {
  std::string name;  // "time", "tokens_per_second", "memory_delta", "peak_memory", "final_loss"
  Summary baseline;
  Summary candidate;
  double improvement = 1;    // ratio of means, above 1 is better; loss: baseline / candidate
  double p = 1;              // Welch, two-sided
  bool significant = false;  // p < 0.05
};

struct SequentialReport {
  std::size_t baseline_ok = 0;
  std::size_t candidate_ok = 0;
  std::size_t trials = 0;  // per arm
  std::vector<MetricComparison> metrics;
  bool loss_converged = false;   // the means of the final loss differ by at most the loss margin
  double convergence_score = 0;  // 1 within the margin (or better), falling linearly to 0 at 10 % worse
  double efficiency_score = 1;   // mean over time and peak memory of 1 + (improvement - 1) (1 - p): an improvement counts as far as it is proven
  double overall_score = 0;      // efficiency x convergence; 0 if the loss has not converged
  std::string verdict_class;     // one line
  std::string reason;            // why there is no comparison; empty if there is one
};

// From records of this design.
SequentialReport report_sequential(const BenchPlan& plan, std::span<const TrialRecord> records);
nlohmann::ordered_json report_to_json(const SequentialReport& report);

// What has to stand beside every result of this design.
const char* drift_warning();

// Runs what is missing, phase by phase. Failed trials stay in the records and are not repeated. kInterrupted when stopped.
Status run_sequential_bench(FileSystem& files, const fs::path& folder, const BenchPlan& plan, std::vector<TrialRecord>& records,
                            BenchObserver& observer, const std::atomic<bool>* stop);

}  // namespace evolora
