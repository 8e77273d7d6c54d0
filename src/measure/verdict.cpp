// Gates first, then claims, then the decision and its sentence.
#include "measure/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "measure/bootstrap.h"
#include "measure/power.h"
#include "measure/wilcoxon.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kPower = 0.8;  // of the advice on more pairs
constexpr std::size_t kMostPairs = 10000;
constexpr std::size_t kResamples = 2000;  // percentiles at 2.5 % from 50 resamples: good to a few per cent of the interval
constexpr std::uint64_t kBootstrapSeed = 20240229;

std::vector<double> collect(std::span<const SamplePair> pairs, const std::function<double(const SamplePair&)>& value) {
  std::vector<double> out;
  for (const SamplePair& pair : pairs) out.push_back(value(pair));
  return out;
}

std::string percent(double x) { return fmt::format("{:+.2f} %", 100 * x); }

// ---- gates

// A count that must be the same in both arms of every pair.
Gate equal_counts(const char* name, std::span<const SamplePair> pairs, double margin,
                  const std::function<std::optional<std::int64_t>(const TrialSample&)>& count) {
  Gate gate{.name = name};
  for (const SamplePair& pair : pairs) {
    const auto baseline = count(pair.baseline);
    const auto candidate = count(pair.candidate);
    if (!baseline || !candidate) continue;
    ++gate.n;
    const auto expected = static_cast<double>(*baseline);
    if (std::abs(static_cast<double>(*candidate) - expected) <= margin * expected) continue;
    if (gate.state != GateState::kFail)
      gate.detail = fmt::format("{} of the candidate, {} of the baseline in pair {}", *candidate, *baseline, pair.pair);
    gate.state = GateState::kFail;
  }
  if (gate.n > 0 && gate.state != GateState::kFail) gate.state = GateState::kPass;
  if (gate.n == 0) gate.detail = "not reported by both arms";
  return gate;
}

Gate same_start(std::span<const SamplePair> pairs) {
  Gate gate{.name = "initial_adapter"};
  for (const SamplePair& pair : pairs) {
    if (pair.baseline.adapter_init.empty() || pair.candidate.adapter_init.empty()) continue;
    ++gate.n;
    if (pair.baseline.adapter_init == pair.candidate.adapter_init) continue;
    if (gate.state != GateState::kFail) gate.detail = fmt::format("the arms of pair {} started from different adapters", pair.pair);
    gate.state = GateState::kFail;
  }
  if (gate.n > 0 && gate.state != GateState::kFail) gate.state = GateState::kPass;
  if (gate.n == 0) gate.detail = "not reported by both arms";
  return gate;
}

// Relative differences that must be shown to lie within +-margin.
Gate equivalence(const char* name, const std::vector<double>& differences, double margin, LookLevels levels) {
  Gate gate{.name = name, .n = differences.size()};
  if (differences.size() < 2) {
    gate.detail = differences.empty() ? "not reported by both arms" : "needs two pairs";
    gate.state = differences.empty() ? GateState::kUnchecked : GateState::kOpen;
    return gate;
  }
  const Equivalence test = tost(differences, -margin, margin, levels.gate);
  gate.mean = test.mean;
  gate.sd = summarize(differences).sd;
  gate.p = test.p;
  gate.interval = test.interval;
  // Shown to be outside: the whole interval of this look is.
  const Interval strict = one_sample_t(differences, 0, 1 - levels.claim).interval;
  if (test.equivalent) {
    gate.state = GateState::kPass;
  } else {
    gate.state = strict.low > margin || strict.high < -margin ? GateState::kFail : GateState::kOpen;
  }
  gate.detail = fmt::format("candidate {} of the baseline, {:.4g} % interval {} to {}, margin {:.2g} %", percent(gate.mean),
                            100 * (1 - 2 * levels.gate), percent(gate.interval.low), percent(gate.interval.high), 100 * margin);
  return gate;
}

std::vector<double> relative_differences(std::span<const SamplePair> pairs, const std::function<std::optional<double>(const TrialSample&)>& value) {
  std::vector<double> out;
  for (const SamplePair& pair : pairs) {
    const auto baseline = value(pair.baseline);
    const auto candidate = value(pair.candidate);
    if (baseline && candidate && *baseline > 0) out.push_back((*candidate - *baseline) / *baseline);
  }
  return out;
}

Gate progress_gate(std::span<const SamplePair> pairs, const VerdictRules& rules, LookLevels levels) {
  // Losses are known to about 1e-7 of themselves, so a fall of 1e-4 is known to a thousandth: an order of magnitude below the margin.
  constexpr double kLeastFall = 1e-4;
  std::vector<double> differences;
  bool too_small = false;
  for (const SamplePair& pair : pairs) {
    const TrialSample& b = pair.baseline;
    const TrialSample& c = pair.candidate;
    if (!b.progress || !c.progress || !b.first_loss) continue;
    if (std::abs(*b.progress) < kLeastFall * *b.first_loss) {
      too_small = true;
      continue;
    }
    differences.push_back((*c.progress - *b.progress) / std::abs(*b.progress));
  }
  Gate gate = equivalence("progress", differences, rules.progress_margin, levels);
  if (differences.empty() && too_small) gate.detail = "the baseline learned too little to compare; train longer or with a higher learning rate";
  return gate;
}

std::vector<Gate> all_gates(std::span<const SamplePair> pairs, const VerdictRules& rules, LookLevels levels) {
  std::vector<Gate> gates;
  gates.push_back(equal_counts("steps", pairs, 0, [](const TrialSample& s) { return s.steps; }));
  gates.push_back(equal_counts("tokens", pairs, rules.token_margin, [](const TrialSample& s) { return s.tokens; }));
  gates.push_back(same_start(pairs));
  const auto train = relative_differences(pairs, [](const TrialSample& s) { return s.train_loss; });
  const auto val = relative_differences(pairs, [](const TrialSample& s) { return s.val_loss; });
  gates.push_back(equivalence("train_loss", train, rules.loss_margin, levels));
  gates.push_back(equivalence("val_loss", val, rules.loss_margin, levels));
  gates.push_back(progress_gate(pairs, rules, levels));
  return gates;
}

// ---- claims

struct RawClaim {
  Claim claim;
  double p_better = 1;  // unadjusted, like all here
  double p_worse = 1;
  bool shown_not_worse = false;
  bool shown_no_gain = false;
};

RawClaim raw_claim(const char* name, const std::vector<double>& logs, const VerdictRules& rules, double level, bool shown) {
  RawClaim raw;
  raw.claim.name = name;
  if (logs.size() < 2) return raw;
  const double gain = std::log1p(rules.min_effect);
  const double loss = std::log1p(-rules.regression_margin);
  const TTest against_gain = one_sample_t(logs, gain, 1 - level);
  const TTest against_loss = one_sample_t(logs, loss, 1 - level);
  raw.claim.log_mean = against_gain.mean;
  raw.claim.log_sd = against_gain.sd;
  raw.claim.ratio = std::exp(against_gain.mean);
  raw.claim.interval = {std::exp(against_gain.interval.low), std::exp(against_gain.interval.high)};
  raw.p_better = against_gain.p_greater;
  raw.p_worse = against_loss.p_less;
  raw.shown_not_worse = against_loss.p_greater <= level / 2;
  raw.shown_no_gain = against_gain.p_less <= level / 2;
  if (shown) {
    raw.claim.wilcoxon_p = wilcoxon_signed_rank(logs).p;
    const Interval bca = bca_interval(logs, bootstrap_means(logs, kResamples, kBootstrapSeed), 1 - level);
    raw.claim.bca = {std::exp(bca.low), std::exp(bca.high)};
  }
  return raw;
}

std::vector<Claim> all_claims(std::span<const SamplePair> pairs, const VerdictRules& rules, double level, bool shown) {
  const auto baseline_seconds = collect(pairs, [](const SamplePair& p) { return p.baseline.wall_seconds; });
  const auto candidate_seconds = collect(pairs, [](const SamplePair& p) { return p.candidate.wall_seconds; });
  const auto baseline_peaks = collect(pairs, [](const SamplePair& p) { return p.baseline.peak_bytes; });
  const auto candidate_peaks = collect(pairs, [](const SamplePair& p) { return p.candidate.peak_bytes; });
  std::vector<RawClaim> raw = {raw_claim("speed", log_ratios(baseline_seconds, candidate_seconds), rules, level, shown),
                               raw_claim("memory", log_ratios(baseline_peaks, candidate_peaks), rules, level, shown)};
  const auto adjusted = [&](auto member) {
    std::vector<double> p;
    for (const RawClaim& r : raw) p.push_back(r.*member);
    return holm_adjusted(p);
  };
  const std::vector<double> p_better = adjusted(&RawClaim::p_better);
  const std::vector<double> p_worse = adjusted(&RawClaim::p_worse);
  std::vector<Claim> claims;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    Claim claim = raw[i].claim;
    claim.p_better = p_better[i];
    claim.p_worse = p_worse[i];
    claim.better = claim.p_better <= level / 2;
    claim.worse = claim.p_worse <= level / 2;
    claim.not_worse = raw[i].shown_not_worse;
    claim.no_gain = raw[i].shown_no_gain;
    claims.push_back(claim);
  }
  if (pairs.empty()) return claims;
  // What a machine must have is the highest peak, not the mean one.
  Claim& memory = claims[1];
  memory.ratio = *std::max_element(baseline_peaks.begin(), baseline_peaks.end()) / *std::max_element(candidate_peaks.begin(), candidate_peaks.end());
  memory.better = memory.better && memory.ratio > 1 + rules.min_effect;
  memory.not_worse = memory.not_worse && memory.ratio > 1 - rules.regression_margin;
  return claims;
}

// ---- decision

std::string describe(const Claim& claim) {
  if (claim.name == "speed") {
    return fmt::format("{:.3g} x as fast (interval {:.3f} to {:.3f})", claim.ratio, claim.interval.low, claim.interval.high);
  }
  return fmt::format("{:.3g} x the memory", 1 / claim.ratio);
}

// Pairs in all that would probably be enough for this claim's question, whichever way the answer seems to go.
std::optional<std::size_t> pairs_for(const Claim& claim, const VerdictRules& rules, double level) {
  const double gain = std::log1p(rules.min_effect);
  // Holm's stricter step: the claim stands alone against half of the level.
  const double strict = level / 4;
  if (claim.log_mean > gain) return needed_for_t(claim.log_mean - gain, claim.log_sd, strict, kPower, kMostPairs);
  const double loss = std::log1p(-rules.regression_margin);
  const auto no_gain = needed_for_t(gain - claim.log_mean, claim.log_sd, level / 2, kPower, kMostPairs);
  if (claim.log_mean >= loss) return no_gain;
  const auto worse = needed_for_t(loss - claim.log_mean, claim.log_sd, strict, kPower, kMostPairs);
  return worse && no_gain ? std::min(*worse, *no_gain) : worse ? worse : no_gain;
}

std::optional<std::size_t> pairs_not_worse(const Claim& claim, const VerdictRules& rules, double level) {
  return needed_for_t(claim.log_mean - std::log1p(-rules.regression_margin), claim.log_sd, level / 2, kPower, kMostPairs);
}

std::optional<std::size_t> pairs_for(const Gate& gate, const VerdictRules& rules, double level) {
  const double margin = margin_of(gate, rules);
  if (std::abs(gate.mean) < margin) return needed_for_tost(gate.mean, margin, gate.sd, level, kPower, kMostPairs);
  return needed_for_t(std::abs(gate.mean) - margin, gate.sd, level / 2, kPower, kMostPairs);
}

bool any_better(const Verdict& verdict) {
  return std::any_of(verdict.claims.begin(), verdict.claims.end(), [](const Claim& claim) { return claim.better; });
}

struct Open {
  std::string what;
  std::optional<std::size_t> pairs;
};

void conclude(Verdict& verdict, Decision decision, std::string reason) {
  verdict.decision = decision;
  verdict.reason = std::move(reason);
}

// What would be enough for everything that is open.
void leave_open(Verdict& verdict, const std::vector<Open>& open) {
  std::string what;
  std::size_t most = verdict.pairs + 1;
  bool known = true;
  for (const Open& one : open) {
    what += (what.empty() ? "" : "; ") + one.what;
    known = known && one.pairs.has_value();
    if (one.pairs) most = std::max(most, *one.pairs);
  }
  std::string advice = fmt::format("no number of pairs up to {} would probably settle it", kMostPairs);
  if (known) {
    verdict.more_pairs = most - verdict.pairs;
    advice = fmt::format("about {} more pair{} would settle it", *verdict.more_pairs, *verdict.more_pairs == 1 ? "" : "s");
  }
  conclude(verdict, Decision::kInconclusive, what + "; " + advice);
}

bool decide_by_failures(Verdict& verdict, const TrialFailures& failures) {
  if (failures.baseline_invalid > 0) {
    conclude(verdict, Decision::kInconclusive,
             fmt::format("{} trial{} of the baseline did not do what it says: {}", failures.baseline_invalid,
                         failures.baseline_invalid == 1 ? "" : "s", failures.baseline_reason));
    return true;
  }
  if (failures.candidate_invalid > 0) {
    conclude(verdict, Decision::kReject,
             fmt::format("{} trial{} of the candidate did not do what it says: {}", failures.candidate_invalid,
                         failures.candidate_invalid == 1 ? "" : "s", failures.candidate_reason));
    return true;
  }
  const std::size_t candidates = verdict.pairs + failures.candidate_failed;
  if (failures.candidate_failed > 0 && 2 * failures.candidate_failed >= candidates && failures.baseline_failed == 0) {
    conclude(verdict, Decision::kReject,
             fmt::format("{} of {} trials of the candidate failed and none of the baseline: {}", failures.candidate_failed, candidates,
                         failures.candidate_reason));
    return true;
  }
  return false;
}

void decide(Verdict& verdict, const TrialFailures& failures, const VerdictRules& rules) {
  if (decide_by_failures(verdict, failures)) return;
  for (const Gate& gate : verdict.gates) {
    if (gate.state == GateState::kFail)
      return conclude(verdict, Decision::kReject, fmt::format("not the same training: {}: {}", gate.name, gate.detail));
  }
  if (failures.candidate_failed + failures.baseline_failed > 0 && verdict.pairs < kFewestPairs) {
    return conclude(verdict, Decision::kInconclusive,
                    fmt::format("{} trials failed (baseline {}, candidate {}): {}", failures.baseline_failed + failures.candidate_failed,
                                failures.baseline_failed, failures.candidate_failed,
                                failures.baseline_reason.empty() ? failures.candidate_reason : failures.baseline_reason));
  }
  if (verdict.pairs < 2) {
    verdict.more_pairs = kFewestPairs - verdict.pairs;
    return conclude(
        verdict, Decision::kInconclusive,
        fmt::format("{} pair{} cannot show anything; at least {} are needed", verdict.pairs, verdict.pairs == 1 ? "" : "s", kFewestPairs));
  }
  for (const Claim& claim : verdict.claims) {
    if (claim.worse) return conclude(verdict, Decision::kReject, fmt::format("the candidate is worse in {}: {}", claim.name, describe(claim)));
  }
  const bool gain_possible = std::any_of(verdict.claims.begin(), verdict.claims.end(), [](const Claim& claim) { return !claim.no_gain; });
  if (!gain_possible) {
    return conclude(
        verdict, Decision::kReject,
        fmt::format("no gain of {:.2g} % or more: {}, {}", 100 * rules.min_effect, describe(verdict.claims[0]), describe(verdict.claims[1])));
  }
  std::vector<Open> open;
  if (failures.candidate_failed > 0) {
    return conclude(verdict, Decision::kInconclusive,
                    fmt::format("{} trials of the candidate failed, which speaks against it whatever the others show: {}", failures.candidate_failed,
                                failures.candidate_reason));
  }
  for (const Gate& gate : verdict.gates) {
    if (gate.state == GateState::kOpen)
      open.push_back({fmt::format("{} not shown equal: {}", gate.name, gate.detail), pairs_for(gate, rules, verdict.gate_level)});
  }
  if (verdict.pairs < kFewestPairs)
    open.push_back({fmt::format("{} pairs are too few, at least {} are needed", verdict.pairs, kFewestPairs), kFewestPairs});
  if (!any_better(verdict)) {
    // The claim nearest to an answer.
    Open nearest{"", std::nullopt};
    for (const Claim& claim : verdict.claims) {
      const auto pairs = pairs_for(claim, rules, verdict.level);
      if (pairs && (!nearest.pairs || *pairs < *nearest.pairs) && !claim.no_gain) nearest.pairs = pairs;
    }
    nearest.what = fmt::format("a gain of {:.2g} % or more is neither shown nor excluded: {}, {}", 100 * rules.min_effect,
                               describe(verdict.claims[0]), describe(verdict.claims[1]));
    open.push_back(nearest);
  }
  for (const Claim& claim : verdict.claims) {
    if (any_better && !claim.not_worse) {
      open.push_back({fmt::format("{} may be worse: {}", claim.name, describe(claim)), pairs_not_worse(claim, rules, verdict.level)});
    }
  }
  if (!open.empty()) return leave_open(verdict, open);
  std::string unchecked;
  for (const Gate& gate : verdict.gates) {
    if (gate.state == GateState::kUnchecked) unchecked += (unchecked.empty() ? "" : ", ") + gate.name;
  }
  conclude(verdict, Decision::kAccept,
           fmt::format("the candidate is {}, with {}; the same training within the margins{}", describe(verdict.claims[0]),
                       describe(verdict.claims[1]), unchecked.empty() ? "" : " (not checked: " + unchecked + ")"));
}

}  // namespace

const char* word(Decision decision) {
  switch (decision) {
    case Decision::kAccept: return "ACCEPT";
    case Decision::kReject: return "REJECT";
    case Decision::kInconclusive: break;
  }
  return "INCONCLUSIVE";
}

const char* word(GateState state) {
  switch (state) {
    case GateState::kPass: return "pass";
    case GateState::kFail: return "fail";
    case GateState::kOpen: return "open";
    case GateState::kUnchecked: break;
  }
  return "unchecked";
}

double margin_of(const Gate& gate, const VerdictRules& rules) { return gate.name == "progress" ? rules.progress_margin : rules.loss_margin; }

Verdict judge_pairs(std::span<const SamplePair> pairs, const TrialFailures& failures, const VerdictRules& rules, LookLevels levels, bool shown) {
  Verdict verdict;
  verdict.pairs = pairs.size();
  verdict.level = levels.claim;
  verdict.gate_level = levels.gate;
  verdict.gates = all_gates(pairs, rules, levels);
  verdict.claims = all_claims(pairs, rules, levels.claim, shown);
  decide(verdict, failures, rules);
  return verdict;
}

std::optional<std::size_t> pairs_to_accept(const Verdict& verdict, const VerdictRules& rules, const std::string& wanted) {
  if (verdict.pairs < 2) return kFewestPairs;
  std::vector<std::optional<std::size_t>> all = {verdict.pairs};
  const double root = std::sqrt(static_cast<double>(verdict.pairs));
  // Holm's stricter step, unless the other claim has taken it.
  const double gain_level = verdict.level / (any_better(verdict) ? 2 : 4);
  const auto above = [&](const Claim& claim, double limit, double level) -> std::optional<std::size_t> {
    const double distance = claim.log_mean + claim.log_sd / root - limit;
    return distance > 0 ? needed_for_t(distance, claim.log_sd, level, kPower, kMostPairs) : std::nullopt;
  };
  for (const Gate& gate : verdict.gates) {
    if (gate.state == GateState::kFail) return std::nullopt;
    if (gate.state != GateState::kOpen || gate.n < 2) continue;
    const double margin = margin_of(gate, rules);
    const double difference = std::max(0.0, std::abs(gate.mean) - gate.sd / std::sqrt(static_cast<double>(gate.n)));
    all.push_back(difference < margin ? needed_for_tost(difference, margin, gate.sd, verdict.gate_level, kPower, kMostPairs) : std::nullopt);
  }
  std::optional<std::size_t> gain;
  for (const Claim& claim : verdict.claims) {
    if (!claim.not_worse) all.push_back(above(claim, std::log1p(-rules.regression_margin), verdict.level / 2));
    if (!wanted.empty() && claim.name != wanted) continue;
    const auto pairs = claim.better ? verdict.pairs : above(claim, std::log1p(rules.min_effect), gain_level);
    if (pairs && (!gain || *pairs < *gain)) gain = pairs;
  }
  all.push_back(gain);
  std::size_t most = kFewestPairs;
  for (const auto& pairs : all) {
    if (!pairs) return std::nullopt;
    most = std::max(most, *pairs);
  }
  return most;
}

}  // namespace evolora
