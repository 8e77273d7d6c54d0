// The words and tables of a bench's page.
#include "report/bench_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/byte_size.h"
#include "measure/paired_bench.h"
#include "measure/sequential_design.h"
#include "report/facts.h"
#include "report/text.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

const char* mood_of(Decision decision) { return decision == Decision::kAccept ? "good" : decision == Decision::kReject ? "bad" : "open"; }

std::string optional_text(const std::optional<double>& value, const char* format) { return value ? fmt::format(fmt::runtime(format), *value) : ""; }

std::string arms_sentence(const BenchPlan& plan) { return fmt::format("Baseline: {}. Candidate: {}.", plan.baseline.name, plan.candidate.name); }

Tile claim_tile(const Verdict& verdict, const Claim& claim) {
  const char* name = claim.name == "speed" ? "Speed, baseline / candidate time" : "Memory, baseline / candidate peak";
  if (verdict.pairs < 2) return {name, "-", "needs two pairs"};
  const char* call = claim.better ? "; better" : claim.worse ? "; worse" : claim.no_gain ? "; no gain" : "";
  return {name, fmt::format("{:.4f}", claim.ratio),
          fmt::format("{:.4g} % interval {:.4f} to {:.4f}{}", 100 * (1 - verdict.level), claim.interval.low, claim.interval.high, call)};
}

void write_failures(const TrialFailures& failures, Page& page) {
  if (failures.baseline_failed + failures.candidate_failed + failures.baseline_invalid + failures.candidate_invalid == 0) return;
  std::string text = fmt::format("Trials without a sample: baseline {} failed, {} invalid; candidate {} failed, {} invalid.",
                                 failures.baseline_failed, failures.baseline_invalid, failures.candidate_failed, failures.candidate_invalid);
  if (!failures.baseline_reason.empty()) text += fmt::format(" First of the baseline: {}.", failures.baseline_reason);
  if (!failures.candidate_reason.empty()) text += fmt::format(" First of the candidate: {}.", failures.candidate_reason);
  page.paragraph(text);
}

void write_paired_verdict(const BenchFolder& bench, const Verdict& verdict, bool finished, Page& page) {
  page.verdict(mood_of(verdict.decision), word(verdict.decision), verdict.reason);
  if (!finished) page.paragraph("The plan's rule has not ended this bench yet: this is the state so far.");
  std::vector<Tile> tiles;
  for (const Claim& claim : verdict.claims) tiles.push_back(claim_tile(verdict, claim));
  const auto passed = std::count_if(verdict.gates.begin(), verdict.gates.end(), [](const Gate& g) { return g.state == GateState::kPass; });
  tiles.push_back({"The same training", fmt::format("{} of {}", passed, verdict.gates.size()), "gates passed"});
  tiles.push_back({"Pairs", fmt::format("{}", verdict.pairs), fmt::format("of at most {}, after a warm-up pair", bench.plan.looks.back())});
  page.tiles(tiles);
  page.paragraph(arms_sentence(bench.plan));
  write_failures(failures_of(pairs_of(bench.records)), page);
}

void write_gates(const Verdict& verdict, Page& page) {
  Table gates{.caption = "Gates: is it the same training?", .header = {"gate", "state", "detail"}, .text_columns = 3};
  for (const Gate& gate : verdict.gates) gates.rows.push_back({gate.name, word(gate.state), gate.detail});
  page.table(gates);
}

void write_sequential_verdict(const BenchFolder& bench, const SequentialReport& report, Page& page) {
  const std::size_t colon = report.verdict_class.find(": ");
  const std::string head = report.verdict_class.substr(0, colon);
  const bool good = head == "STRONG" || head == "IMPROVED";
  const bool bad = head == "MIXED OR WORSE" || head == "NOT THE SAME LOSS";
  page.verdict(good ? "good" : bad ? "bad" : "open", head, colon == std::string::npos ? "" : report.verdict_class.substr(colon + 2));
  page.paragraph(drift_warning());
  if (report.reason.empty()) {
    page.tiles({{"Loss convergence", report.loss_converged ? "yes" : "no", fmt::format("score {:.3f}", report.convergence_score)},
                {"Efficiency score", fmt::format("{:.3f}", report.efficiency_score), "time and peak memory, as far as they are proven"},
                {"Overall score", fmt::format("{:.3f}", report.overall_score), ""},
                {"Successful trials", fmt::format("{} and {}", report.baseline_ok, report.candidate_ok), fmt::format("of {} each", report.trials)}});
  }
  page.paragraph(arms_sentence(bench.plan));
  Table metrics{.caption = "Significance (Welch's t; improvement above 1 is better)",
                .header = {"metric", "baseline", "candidate", "improvement", "p", "p < 0.05"}};
  for (const MetricComparison& m : report.metrics) {
    const bool is_memory = m.name.find("memory") != std::string::npos;
    const auto mean = [&](const Summary& summary) {
      return is_memory ? fmt::format("{:.2f} MB", summary.mean / kMegabyte) : figure_text(summary.mean);
    };
    metrics.rows.push_back({m.name, mean(m.baseline), mean(m.candidate), fmt::format("{:.4f}", m.improvement), fmt::format("{:.3g}", m.p),
                            m.significant ? "yes" : "no"});
  }
  if (!metrics.rows.empty()) page.table(metrics);
}

void write_arm_figures(const BenchFolder& bench, Page& page) {
  page.heading("Figures of both arms");
  for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) {
    const auto trials = trials_of(bench.plan.design, bench.records, role);
    const auto ok = std::count_if(trials.begin(), trials.end(), [](const TrialRecord* t) { return t->status == TrialStatus::kOk; });
    Table table{.caption = fmt::format("{}: {} ({} of {} trials valid)", role == ArmRole::kBaseline ? "Baseline" : "Candidate",
                                       bench.plan.arm(role).name, ok, trials.size()),
                .header = {"figure", "mean", "standard deviation", "95 % interval from", "to"}};
    for (const FigureSummary& f : figures_of(trials)) {
      table.rows.push_back({f.name, figure_text(f.summary.mean), figure_text(f.summary.sd), figure_text(f.summary.interval.low),
                            figure_text(f.summary.interval.high)});
    }
    page.table(table);
  }
}

void write_trials(const BenchFolder& bench, Page& page) {
  const bool paired = bench.plan.design == BenchDesign::kPaired;
  Table table{.caption = fmt::format("All {} trials, in the order in which they ran", bench.records.size()),
              .header = {paired ? "pair" : "trial", "arm", "status", "seed", "seconds", "processor s", "peak MB", "tokens", "training loss",
                         "validation loss", "reason"},
              .text_columns = 3,
              .last_is_text = true};
  for (const TrialRecord& r : bench.records) {
    const TrialSample& s = r.sample;
    table.rows.push_back({r.warmup ? "warm-up" : fmt::format("{}", r.pair), word(r.role), word(r.status), fmt::format("{}", r.seed),
                          fmt::format("{:.3f}", s.wall_seconds), fmt::format("{:.3f}", r.cpu_seconds),
                          fmt::format("{:.1f}", s.peak_bytes / kMegabyte), s.tokens ? fmt::format("{}", *s.tokens) : "",
                          optional_text(s.train_loss, "{:.6f}"), optional_text(s.val_loss, "{:.6f}"), r.reason});
  }
  page.folded_table(table);
}

// "0.52 to 1.94" of a moment note before and after all trials; empty if no trial has it.
std::string range_of_moments(const std::vector<TrialRecord>& records, const char* key) {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  for (const TrialRecord& record : records) {
    for (const char* when : {"before", "after"}) {
      const auto value = number_in(object_in(record.notes, when), key);
      if (!value) continue;
      low = std::min(low, *value);
      high = std::max(high, *value);
    }
  }
  return low <= high ? fmt::format("{} to {}", figure_text(low), figure_text(high)) : "";
}

void write_environment(const BenchFolder& bench, Page& page) {
  page.heading("Environment");
  Table table = facts_table("Machine, versions, inputs", bench.plan.machine);
  add_facts(table, bench.plan.versions, "version of ");
  table.rows.push_back({"SHA-256 of the model", bench.plan.model_sha256});
  table.rows.push_back({"SHA-256 of the data", bench.plan.data_sha256});
  for (const auto& [key, name] : {std::pair("load_average", "load average during the trials"), std::pair("mhz", "processor MHz during the trials")}) {
    const std::string range = range_of_moments(bench.records, key);
    if (!range.empty()) table.rows.push_back({name, range});
  }
  page.table(table);
}

void write_reproduction(const BenchFolder& bench, const fs::path& folder, Page& page) {
  page.heading("How to reproduce");
  page.paragraph("The verdict from the same samples:");
  page.code("evolora bench --verify " + shell_word(folder.string()));
  page.paragraph("The bench again, on this machine or another (paths of model, data and programs are those of this bench):");
  page.code(reproduce_commands(bench.plan));
  page.table(facts_table("Settings of both arms", bench.plan.common));
  page.table(facts_table("Rules of the verdict", rules_to_json(bench.plan.rules)));
}

}  // namespace

Result<std::string> bench_report(FileSystem& files, const fs::path& folder) {
  const BenchFolder bench = TRY(read_bench_folder(files, folder));
  const std::string source = (folder / "samples.jsonl").string();
  Page page(fmt::format("Bench: {} against {}", bench.plan.candidate.name, bench.plan.baseline.name));
  BenchFigures figures;
  if (bench.plan.design == BenchDesign::kPaired) {
    const Assessment assessment = assess(bench.plan, bench.records);
    TRY(kept_verdict_agrees(files, folder, verdict_to_json(assessment.verdict)));
    write_paired_verdict(bench, assessment.verdict, assessment.finished, page);
    figures = TRY(bench_figures(bench, &assessment.verdict, source));
    page.heading("How sure is it?");
    page.figures(std::move(figures.certainty));
    write_gates(assessment.verdict, page);
  } else {
    const SequentialReport report = report_sequential(bench.plan, bench.records);
    TRY(kept_verdict_agrees(files, folder, report_to_json(report)));
    write_sequential_verdict(bench, report, page);
    figures = TRY(bench_figures(bench, nullptr, source));
    page.heading("In the order in which they ran");
    page.figures(std::move(figures.certainty));
  }
  page.heading("Loss");
  if (figures.losses.empty()) page.paragraph("These samples hold no loss curves.");
  page.figures(std::move(figures.losses));
  page.heading("Memory over time");
  if (figures.memory.empty()) page.paragraph("These samples hold no memory over time.");
  page.figures(std::move(figures.memory));
  write_arm_figures(bench, page);
  write_trials(bench, page);
  write_environment(bench, page);
  write_reproduction(bench, folder, page);
  return page.html();
}

}  // namespace evolora
