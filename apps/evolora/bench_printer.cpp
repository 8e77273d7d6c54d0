// Lines and tables of `evolora bench`.
#include "bench_printer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "measure/bench_folder.h"
#include "report/text.h"
#include "terminal.h"

namespace evolora {
namespace {

std::string loss_text(const TrialSample& sample) {
  std::string text;
  if (sample.train_loss) text += fmt::format("  train loss {:.4f}", *sample.train_loss);
  if (sample.val_loss) text += fmt::format("  val loss {:.4f}", *sample.val_loss);
  return text;
}

// "applied: cpu kernels, 30 of 30 blocks", from the record's own proof.
std::string applied_text(const TrialRecord& record) {
  const auto applied = record.notes.find("applied");
  if (applied == record.notes.end() || !applied->is_object()) return "";
  return fmt::format("  applied yes, {} blocks", applied->value("adapted_layers", nlohmann::ordered_json()).dump());
}

Style style_of(Decision decision) {
  return decision == Decision::kAccept ? Style::kGreen : decision == Decision::kReject ? Style::kRed : Style::kYellow;
}

}  // namespace

std::string BenchPrinter::place_text(const TrialPlace& place) const {
  if (plan_.design == BenchDesign::kSequential) return fmt::format("{} trial {}/{}", word(place.role), place.index + 1, plan_.trials);
  const std::string pair = place.warmup ? "warm-up" : fmt::format("pair {}/{}", place.index, plan_.looks.back());
  return fmt::format("{:<11} {:<9}", pair, word(place.role));
}

void BenchPrinter::print_plan() const {
  fmt::print("{}  {}\n", styled(Style::kBold, "Baseline "), plan_.baseline.name);
  fmt::print("{}  {}\n", styled(Style::kBold, "Candidate"), plan_.candidate.name);
  if (plan_.design == BenchDesign::kSequential) {
    fmt::print("Design     sequential: {} trials of the baseline, then {} of the candidate\n           {}\n", plan_.trials, plan_.trials,
               drift_warning());
  } else {
    fmt::print("Design     paired: up to {} pairs after a warm-up pair, order shuffled in each; {}\n", plan_.looks.back(),
               plan_.looks.size() == 1 ? "looked at once, at the end" : fmt::format("looked at up to {} times (alpha spending)", plan_.looks.size()));
  }
  std::fflush(stdout);
}

void BenchPrinter::on_trial_start(const TrialPlace& place, double seconds_left) {
  if (plan_.design == BenchDesign::kSequential && phase_ != static_cast<int>(place.role)) {
    phase_ = static_cast<int>(place.role);
    fmt::print("{}\n", styled(Style::kBold, fmt::format("Phase {}: {}", phase_ + 1, word(place.role))));
  }
  place_ = place_text(place);
  const std::string left = seconds_left > 0 ? fmt::format("  {} left", human_duration(seconds_left)) : "";
  if (stdout_is_terminal()) fmt::print("\r{}  running{}\x1b[K", place_, left);
  std::fflush(stdout);
}

void BenchPrinter::on_trial_end(const TrialRecord& record) {
  if (stdout_is_terminal()) fmt::print("\r\x1b[K");
  const TrialSample& s = record.sample;
  if (record.status == TrialStatus::kOk) {
    std::string text =
        fmt::format("{}  seed {:<4} {:7.2f} s  peak {:>8}", place_, record.seed, s.wall_seconds, human_bytes(static_cast<std::size_t>(s.peak_bytes)));
    if (plan_.design == BenchDesign::kSequential)
      text += fmt::format("  memory +{}", human_bytes(static_cast<std::size_t>(record.memory_delta_bytes)));
    fmt::print("{}{}{}\n", text, loss_text(s), plan_.design == BenchDesign::kSequential ? applied_text(record) : "");
  } else {
    fmt::print("{}  seed {:<4} {}: {}\n", place_, record.seed, styled(Style::kRed, word(record.status)), record.reason);
  }
  std::fflush(stdout);
}

void BenchPrinter::on_look(const Verdict& verdict, std::size_t look) {
  if (plan_.looks.size() == 1) return;
  fmt::print("{}\n", styled(Style::kDim,
                            fmt::format("look after {} pairs (level {:.2g}): {}: {}", look, verdict.level, word(verdict.decision), verdict.reason)));
  std::fflush(stdout);
}

void BenchPrinter::print_figures(std::span<const TrialRecord> records) const {
  for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) {
    const auto trials = trials_of(plan_.design, records, role);
    const auto ok = std::count_if(trials.begin(), trials.end(), [](const TrialRecord* t) { return t->status == TrialStatus::kOk; });
    fmt::print("\n{}: {} ({} of {} trials valid)\n", styled(Style::kBold, role == ArmRole::kBaseline ? "Baseline" : "Candidate"),
               plan_.arm(role).name, ok, trials.size());
    fmt::print("  {:<20} {:>10} {:>10}   {}\n", "", "mean", "sd", "95 % interval");
    for (const FigureSummary& f : figures_of(trials)) {
      fmt::print("  {:<20} {:>10} {:>10}   {} to {}\n", f.name, figure_text(f.summary.mean), figure_text(f.summary.sd),
                 figure_text(f.summary.interval.low), figure_text(f.summary.interval.high));
    }
  }
}

void BenchPrinter::print_result(const Verdict& verdict, std::span<const TrialRecord> records) const {
  print_figures(records);
  const auto failures = failures_of(pairs_of(records));
  if (failures.baseline_failed + failures.candidate_failed + failures.baseline_invalid + failures.candidate_invalid > 0) {
    fmt::print("\nTrials without a sample: baseline {} failed, {} invalid; candidate {} failed, {} invalid\n", failures.baseline_failed,
               failures.baseline_invalid, failures.candidate_failed, failures.candidate_invalid);
  }
  fmt::print("\n{} (baseline / candidate: above 1 is better; {:.4g} % interval, level of this look)\n", styled(Style::kBold, "Claims"),
             100 * (1 - verdict.level));
  for (const Claim& claim : verdict.claims) {
    const std::string interval =
        verdict.pairs < 2 ? "needs two pairs"
                          : fmt::format("{:.4f}  t interval {:.4f} to {:.4f}, bootstrap {:.4f} to {:.4f}, signed rank p {:.3g}", claim.ratio,
                                        claim.interval.low, claim.interval.high, claim.bca.low, claim.bca.high, claim.wilcoxon_p);
    fmt::print("  {:<8} {}{}\n", claim.name, interval, claim.better ? "  better" : claim.worse ? "  worse" : claim.no_gain ? "  no gain" : "");
  }
  fmt::print("{}\n", styled(Style::kBold, "Gates"));
  for (const Gate& gate : verdict.gates) fmt::print("  {:<16} {:<10} {}\n", gate.name, word(gate.state), gate.detail);
  fmt::print("\n{}: {}\n", styled(style_of(verdict.decision), word(verdict.decision)), verdict.reason);
}

void BenchPrinter::print_report(const SequentialReport& report, std::span<const TrialRecord> records) const {
  print_figures(records);
  fmt::print("\nSuccessful trials: baseline {}/{}, candidate {}/{}\n", report.baseline_ok, report.trials, report.candidate_ok, report.trials);
  if (!report.metrics.empty()) fmt::print("{} (Welch's t; improvement above 1 is better)\n", styled(Style::kBold, "Significance"));
  for (const MetricComparison& m : report.metrics) {
    fmt::print("  {:<18} {:.4f}   p {:.3g}  {}\n", m.name, m.improvement, m.p, m.significant ? "significant" : "not significant");
  }
  if (report.reason.empty()) {
    fmt::print("Loss convergence   {}\nConvergence score  {:.3f}\nEfficiency score   {:.3f}\nOverall score      {:.3f}\n",
               report.loss_converged ? "yes" : "no", report.convergence_score, report.efficiency_score, report.overall_score);
  }
  fmt::print("\n{}\n{}\n", styled(Style::kBold, report.verdict_class), drift_warning());
}

}  // namespace evolora
