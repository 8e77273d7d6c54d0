// From the samples of a paired bench to ACCEPT, REJECT or INCONCLUSIVE. Pure: no clock, no files; the same samples and rules give the same verdict.
//
// ACCEPT needs all of: no invalid candidate, equal work (tokens, steps), losses shown equal within a margin (TOST), at least one claim (speed,
// memory) shown better by min_effect, and neither shown or likely worse than by regression_margin. REJECT: one of these is shown to be false.
// INCONCLUSIVE: neither; says how many more pairs would probably settle it. Speed is the ratio of the parent's wall-clock times: mean of log ratios,
// Student's t. Memory is the ratio of the highest peaks of each arm, and must also hold pair by pair. p-values of the two claims are adjusted by
// Holm. Loss gates need no adjustment: all must pass (intersection-union).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"
#include "measure/estimators.h"

namespace evolora {

enum class Decision { kAccept, kReject, kInconclusive };
const char* word(Decision decision);  // "ACCEPT", ...

// What one valid trial measured. Optional: what the arm did not report.
struct TrialSample {
  double wall_seconds = 0;  // the parent's clock, whole process
  double peak_bytes = 0;    // the parent's meter, high-water mark of resident memory
  std::optional<std::int64_t> tokens;
  std::optional<std::int64_t> steps;
  std::optional<double> train_loss;  // last reported
  std::optional<double> val_loss;    // last
  // Loss before training and how much it fell: of validation if there is any, else of the training reports.
  std::optional<double> first_loss;
  std::optional<double> progress;
  std::string adapter_init;  // digest of the initial adapter; empty: not known
};

struct SamplePair {
  std::size_t pair = 0;
  TrialSample baseline;
  TrialSample candidate;
};

// Trials that gave no sample. A pair with one of them is not compared, and it is not forgotten either.
struct TrialFailures {
  std::size_t baseline_failed = 0;  // crashed, timed out, no result
  std::size_t candidate_failed = 0;
  std::size_t baseline_invalid = 0;  // ran, and did not do what its arm says
  std::size_t candidate_invalid = 0;
  std::string baseline_reason;  // of the first
  std::string candidate_reason;
};

struct VerdictRules {
  double alpha = 0.05;              // two-sided, of the whole verdict
  double min_effect = 0.01;         // speed-up or memory saving that is worth a claim
  double regression_margin = 0.02;  // how much slower or larger is still "not worse"
  double loss_margin = 0.01;        // relative, of final training and validation loss
  double progress_margin = 0.01;    // relative, of how much the loss fell: sees a wrong learning rate that the loss itself hides
  double token_margin = 0;          // relative; 0: exactly the same number
};
nlohmann::ordered_json rules_to_json(const VerdictRules& rules);
Result<VerdictRules> rules_from_json(const nlohmann::ordered_json& json, const std::string& source);

struct Claim {
  std::string name;       // "speed", "memory"
  double ratio = 1;       // baseline / candidate: above 1 is better
  Interval interval;      // of the pairwise geometric mean, at the confidence of this look
  double p_better = 1;    // Holm-adjusted, one-sided against 1 + min_effect
  double p_worse = 1;     // Holm-adjusted, one-sided against 1 - regression_margin
  double wilcoxon_p = 1;  // two-sided against 1, exact: for cross-checking
  Interval bca;           // bootstrap, beside the t interval
  bool better = false;
  bool worse = false;
  bool not_worse = false;  // shown
  bool no_gain = false;    // shown that the gain is below min_effect
  double log_mean = 0;
  double log_sd = 0;
};

enum class GateState { kPass, kFail, kOpen, kUnchecked };
const char* word(GateState state);  // "pass", ...

struct Gate {
  std::string name;  // "tokens", "train_loss", "val_loss", "progress", ...
  GateState state = GateState::kUnchecked;
  std::string detail;
  std::size_t n = 0;
  double mean = 0;  // relative difference, candidate against baseline
  double sd = 0;
  double p = 1;       // of TOST
  Interval interval;  // of TOST
};

// Of an equivalence gate.
double margin_of(const Gate& gate, const VerdictRules& rules);

// Of TOST, each side, if there is one look.
inline constexpr double kGateAlpha = 0.05;

// Nominal levels of one look.
struct LookLevels {
  double claim;              // two-sided; rules.alpha if it is the only look
  double gate = kGateAlpha;  // of TOST, each side
};

struct Verdict {
  Decision decision = Decision::kInconclusive;
  std::string reason;                     // one sentence
  std::optional<std::size_t> more_pairs;  // for INCONCLUSIVE: estimate at 80 % power; empty: no number found
  std::size_t pairs = 0;
  double level = 0.05;             // two-sided, that this look was made at
  double gate_level = kGateAlpha;  // the same of its gates
  std::vector<Claim> claims;
  std::vector<Gate> gates;
};

// Fewer pairs than this are never ACCEPTed: a t interval from less says more about luck than about the candidate.
inline constexpr std::size_t kFewestPairs = 5;

// shown: also compute what is only displayed (bootstrap, Wilcoxon).
Verdict judge_pairs(std::span<const SamplePair> pairs, const TrialFailures& failures, const VerdictRules& rules, LookLevels levels,
                    bool shown = true);

// Pairs in all after which the candidate would probably be accepted at this verdict's levels, if it is one standard error better than it looks in
// everything that is not shown yet; nothing: that would not do, or takes more than 10 000. wanted: the claim that has to be shown; empty: any.
std::optional<std::size_t> pairs_to_accept(const Verdict& verdict, const VerdictRules& rules, const std::string& wanted);

nlohmann::ordered_json verdict_to_json(const Verdict& verdict);

}  // namespace evolora
