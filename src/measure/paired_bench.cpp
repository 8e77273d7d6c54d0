// The loop over pairs, and the rule that ends it.
#include "measure/paired_bench.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "measure/distributions.h"

namespace evolora {
namespace {

// An arm that failed this often will not be made better by more trials.
constexpr std::size_t kGiveUpAfter = 3;

bool hopeless(const TrialFailures& failures) {
  return failures.candidate_failed + failures.candidate_invalid >= kGiveUpAfter ||
         failures.baseline_failed + failures.baseline_invalid >= kGiveUpAfter;
}

// Is the speed ratio known to the plan's precision (1 - alpha interval)? The verdict of that look stays at its own strict level: spending all that is
// left, because the spread says nothing about the effect, was simulated and is wrong 7.6 % of the time instead of 5 % (benches end where the spread
// is underestimated).
bool precise_enough(const BenchPlan& plan, const Verdict& verdict) {
  if (plan.precision <= 0 || verdict.pairs < kFewestPairs) return false;
  const Claim& speed = verdict.claims.front();
  const auto n = static_cast<double>(verdict.pairs);
  const double reach = student_t_quantile(1 - plan.rules.alpha / 2, n - 1) * speed.log_sd / std::sqrt(n);
  return reach <= std::log1p(plan.precision);
}

// Would all pairs of the plan probably not be enough to accept for the wanted claim? Judged by the levels of the last look. To end here costs power
// and no error.
bool futile(const BenchPlan& plan, std::span<const PairRecords> seen, LookLevels last) {
  if (!plan.futility) return false;
  const TrialFailures failures = failures_of(seen);
  if (failures.candidate_failed + failures.candidate_invalid + failures.baseline_invalid > 0) return true;
  const Verdict verdict = judge_pairs(samples_of(seen), failures, plan.rules, last, false);
  if (verdict.decision == Decision::kReject) return true;
  const auto pairs = pairs_to_accept(verdict, plan.rules, plan.wanted);
  return !pairs || *pairs > plan.looks.back();
}

// Is what the look decides what the bench is for? To accept for another claim than the wanted one would leave that one's question open.
bool decides(const BenchPlan& plan, const Verdict& verdict) {
  if (verdict.decision != Decision::kAccept || plan.wanted.empty()) return verdict.decision != Decision::kInconclusive;
  return std::any_of(verdict.claims.begin(), verdict.claims.end(), [&](const Claim& claim) { return claim.name == plan.wanted && claim.better; });
}

// Complete pairs without the warm-up, up to a number of the plan.
std::size_t attempted(std::span<const PairRecords> pairs) {
  return static_cast<std::size_t>(std::count_if(pairs.begin(), pairs.end(), [](const PairRecords& p) { return p.pair > 0; }));
}

}  // namespace

double seconds_for(std::span<const TrialRecord> records, std::size_t baseline_trials, std::size_t candidate_trials) {
  double sum[2] = {0, 0};
  double count[2] = {0, 0};
  for (const TrialRecord& record : records) {
    sum[static_cast<std::size_t>(record.role)] += record.sample.wall_seconds;
    count[static_cast<std::size_t>(record.role)] += 1;
  }
  if (count[0] + count[1] == 0) return 0;
  const double both = (sum[0] + sum[1]) / (count[0] + count[1]);
  const double baseline = count[0] > 0 ? sum[0] / count[0] : both;
  const double candidate = count[1] > 0 ? sum[1] / count[1] : both;
  return baseline * static_cast<double>(baseline_trials) + candidate * static_cast<double>(candidate_trials);
}

Assessment assess(const BenchPlan& plan, std::span<const TrialRecord> records) {
  const std::vector<PairRecords> pairs = pairs_of(records);
  const std::size_t done = attempted(pairs);
  const std::vector<LookLevels> levels = look_levels(plan);
  for (std::size_t look = 0; look < plan.looks.size() && plan.looks[look] <= done; ++look) {
    std::vector<PairRecords> seen;
    for (const PairRecords& pair : pairs) {
      if (pair.pair <= plan.looks[look]) seen.push_back(pair);
    }
    const Verdict verdict = judge_pairs(samples_of(seen), failures_of(seen), plan.rules, levels[look]);
    const bool last = look + 1 == plan.looks.size();
    if (last || decides(plan, verdict) || precise_enough(plan, verdict) || futile(plan, seen, levels.back())) {
      return {verdict, true};
    }
  }
  Assessment now{judge_pairs(samples_of(pairs), failures_of(pairs), plan.rules, levels.front()), hopeless(failures_of(pairs))};
  if (!now.finished && now.verdict.decision == Decision::kAccept) {
    now.verdict.decision = Decision::kInconclusive;
    now.verdict.reason =
        fmt::format("{} of {} pairs are done, and the plan does not decide here; so far {}", done, plan.looks.back(), now.verdict.reason);
  }
  return now;
}

Result<Assessment> run_paired_bench(FileSystem& files, const fs::path& folder, const BenchPlan& plan, std::vector<TrialRecord>& records,
                                    BenchObserver& observer, const std::atomic<bool>* stop, TrialLauncher* launcher) {
  TrialRunner runner = TRY(TrialRunner::create(files, folder, plan, launcher));
  SampleFile samples = TRY(SampleFile::open(files, folder / "samples.jsonl"));
  for (std::size_t pair = 0; pair <= plan.looks.back(); ++pair) {
    const std::vector<PairRecords> complete = pairs_of(records);
    if (std::any_of(complete.begin(), complete.end(), [&](const PairRecords& p) { return p.pair == pair; })) continue;
    if (const Assessment now = assess(plan, records); now.finished) return now;
    const std::size_t attempt = attempts_of(records, pair);
    for (int position = 0; position < 2; ++position) {
      const bool candidate = candidate_first(plan, pair) == (position == 0);
      const TrialPlace place{candidate ? ArmRole::kCandidate : ArmRole::kBaseline, pair, attempt, pair == 0, position};
      const std::size_t left = plan.looks.back() - pair;
      observer.on_trial_start(place, seconds_for(records, left + 1, left + (position == 0 ? 1 : 0)));
      records.push_back(TRY(runner.run(place, stop)));
      TRY(samples.append(records.back()));
      observer.on_trial_end(records.back());
      if (records.back().status == TrialStatus::kInterrupted || (stop != nullptr && stop->load())) {
        return Error{ErrorCode::kInterrupted, fmt::format("interrupted; finished pairs are kept in {}: continue with --resume", folder.string())};
      }
    }
    const auto look = std::find(plan.looks.begin(), plan.looks.end(), pair);
    if (look != plan.looks.end()) observer.on_look(assess(plan, records).verdict, pair);
  }
  return assess(plan, records);
}

}  // namespace evolora
