// What a bench is going to do, fixed before its first trial: arms, settings, seeds, looks, rules, digests of model and data. Its own digest stands in
// every record, so that samples of another plan cannot be mixed in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "measure/arm.h"
#include "measure/trial.h"
#include "measure/verdict.h"

namespace evolora {

enum class BenchDesign { kPaired, kSequential };

struct BenchPlan {
  BenchDesign design = BenchDesign::kPaired;
  Arm baseline;
  Arm candidate;
  nlohmann::ordered_json common;  // training settings of both arms
  VerdictRules rules;
  std::uint64_t seed = 0;          // paired: trial seeds are seed + pair
  std::uint64_t order_seed = 0;    // paired: which arm of a pair goes first
  std::vector<std::size_t> looks;  // paired: pairs after which the verdict is looked at; the last is the most that are run
  double precision = 0;            // paired: stop when the speed ratio is known to +-this; 0: only at the end
  bool futility = false;           // paired: stop at a look from where the last one would probably not accept the candidate
  std::string wanted;         // paired: the claim ("speed", "memory") that has to be shown for a look before the last to accept; empty: any will do
  bool gate_spending = true;  // paired: gates pay for looks as claims do; older plans of several looks do not say so and did not
  std::size_t trials = 5;     // sequential: per arm
  double timeout_seconds = 0;
  std::string model_sha256;
  std::string data_sha256;
  nlohmann::ordered_json versions;  // of the program that measures
  nlohmann::ordered_json machine;

  const Arm& arm(ArmRole role) const { return role == ArmRole::kBaseline ? baseline : candidate; }
};

nlohmann::ordered_json plan_to_json(const BenchPlan& plan);
// kBadData naming source and the field.
Result<BenchPlan> plan_from_json(const nlohmann::ordered_json& json, const std::string& source);
// SHA-256 of its JSON.
std::string plan_digest(const BenchPlan& plan);

// Looks at about every third more pairs from 6 (where the exact signed-rank test can first say anything) up to most.
std::vector<std::size_t> growing_looks(std::size_t most);
// Of every look (alpha spending); a single look has alpha and kGateAlpha. Claims spend little early, as O'Brien and Fleming; gates about
// the same at every look, as Pocock: trainings that are equal need not run to the end to show it.
std::vector<LookLevels> look_levels(const BenchPlan& plan);

// Paired: does the candidate go first in this pair?
bool candidate_first(const BenchPlan& plan, std::size_t pair);
// Of a trial; sequential: 42 + i for the baseline, 100 + i for the candidate.
std::uint64_t trial_seed(const BenchPlan& plan, ArmRole role, std::size_t index);

}  // namespace evolora
