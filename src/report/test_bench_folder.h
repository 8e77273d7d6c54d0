// For tests of reports: a bench folder whose samples no process made.
#pragma once

#include <cmath>
#include <string>

#include "base/json.h"
#include "base/test_folder.h"
#include "measure/bench_folder.h"
#include "measure/sample_file.h"

namespace evolora {

inline BenchPlan test_bench_plan(const std::string& candidate_name) {
  BenchPlan plan;
  plan.baseline.name = "plain";
  plan.baseline.program = "evolora";
  plan.candidate.name = candidate_name;
  plan.candidate.program = "evolora";
  plan.candidate.settings = {{"learning_rate", 2e-5}};
  plan.common = {{"model", "models/tiny"}, {"data", "data"}, {"iters", 10}};
  plan.looks = {6};
  plan.seed = 7;
  plan.versions = {{"evolora", "0.1.0"}};
  plan.machine = {{"cpu", "a machine"}, {"cores", 2}};
  return plan;
}

// A valid trial; what varies is a fixed function of the pair, so that every run of a test sees the same figures.
inline TrialRecord test_trial(const BenchPlan& plan, ArmRole role, std::size_t pair) {
  const bool candidate = role == ArmRole::kCandidate;
  const auto wave = std::sin(3.0 * static_cast<double>(pair) + (candidate ? 1 : 0));
  TrialRecord record;
  record.plan_sha256 = plan_digest(plan);
  record.role = role;
  record.pair = pair;
  record.warmup = pair == 0 && plan.design == BenchDesign::kPaired;
  record.position = candidate ? 1 : 0;
  record.seed = trial_seed(plan, role, pair);
  record.status = TrialStatus::kOk;
  record.cpu_seconds = 2;
  record.sample.wall_seconds = (candidate ? 1.0 : 1.5) * (1 + 0.01 * wave);
  record.sample.peak_bytes = (candidate ? 0.9e8 : 1e8) * (1 + 0.001 * wave);
  record.sample.tokens = 1000;
  record.sample.steps = 10;
  record.sample.train_loss = 2 + 1e-4 * wave;
  record.sample.val_loss = 2.1 + 1e-4 * wave;
  record.sample.first_loss = 3;
  record.sample.progress = 0.9 - 1e-4 * wave;
  record.notes = {{"before", {{"load_average", 0.5}}},
                  {"train_losses", {{5, 2.5 + 0.1 * wave}, {10, *record.sample.train_loss}}},
                  {"val_losses", {{0, 3}, {10, *record.sample.val_loss}}},
                  {"memory", {{0.1, 5e7}, {0.9, record.sample.peak_bytes}}}};
  return record;
}

// plan.json and samples.jsonl with this many pairs after the warm-up.
inline void write_test_bench(const fs::path& folder, const BenchPlan& plan, std::size_t pairs) {
  std::string samples;
  for (std::size_t pair = 0; pair <= pairs; ++pair) {
    for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) samples += trial_to_json(test_trial(plan, role, pair)).dump() + "\n";
  }
  write_test_file(folder / "plan.json", plan_to_json(plan).dump(2));
  write_test_file(folder / "samples.jsonl", samples);
}

}  // namespace evolora
