// What the plots of a bench's page show. The fields of a figure's data are described in assets/charts.js.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/byte_size.h"
#include "measure/sample_file.h"
#include "report/bench_report.h"
#include "report/curve_figures.h"
#include "report/curves.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::string ratio_text(double ratio) { return fmt::format("{:.4f}", ratio); }
std::string percent_text(double share) { return fmt::format("{:+.3f} %", 100 * share); }

Json interval_row(const std::string& name, double value, const Interval& interval, double zone_low, double zone_high) {
  return {{"name", name}, {"value", value}, {"low", interval.low}, {"high", interval.high}, {"zone", {zone_low, zone_high}}};
}

Figure claims_figure(const Verdict& verdict, const VerdictRules& rules) {
  const double confidence = 100 * (1 - verdict.level);
  Figure figure{
      .title = "Claims",
      .note = fmt::format("baseline / candidate, right of 1 is better; lines are {:.4g} % intervals, the shaded zone is neither a gain nor a loss",
                          confidence)};
  Table table{.caption = "Claims",
              .header = {"claim", "ratio", "t interval from", "to", "bootstrap from", "to", "signed rank p", "p better", "p worse"}};
  Json rows = Json::array();
  for (const Claim& claim : verdict.claims) {
    const double low = 1 - rules.regression_margin;
    const double high = 1 + rules.min_effect;
    rows.push_back(interval_row(claim.name, claim.ratio, claim.interval, low, high));
    rows.push_back(interval_row(claim.name + ", bootstrap", claim.ratio, claim.bca, low, high));
    table.rows.push_back({claim.name, ratio_text(claim.ratio), ratio_text(claim.interval.low), ratio_text(claim.interval.high),
                          ratio_text(claim.bca.low), ratio_text(claim.bca.high), fmt::format("{:.3g}", claim.wilcoxon_p),
                          fmt::format("{:.3g}", claim.p_better), fmt::format("{:.3g}", claim.p_worse)});
  }
  figure.data = {{"kind", "forest"}, {"scale", "ratio"}, {"reference", 1}, {"label", "baseline / candidate"}, {"rows", rows}};
  figure.tables = {table};
  return figure;
}

// Equivalence gates; the others compare whole numbers and have no interval.
std::optional<Figure> gates_figure(const Verdict& verdict, const VerdictRules& rules) {
  Table table{
      .caption = "Equivalence",
      .header = {"gate", "state", "pairs", "difference", fmt::format("{:.4g} % interval from", 100 * (1 - 2 * verdict.gate_level)), "to", "p"},
      .text_columns = 2};
  Json rows = Json::array();
  for (const Gate& gate : verdict.gates) {
    const bool is_loss = gate.name == "train_loss" || gate.name == "val_loss";
    if ((!is_loss && gate.name != "progress") || gate.n < 2) continue;
    const double margin = margin_of(gate, rules);
    const Interval percent{100 * gate.interval.low, 100 * gate.interval.high};
    rows.push_back(interval_row(gate.name, 100 * gate.mean, percent, -100 * margin, 100 * margin));
    table.rows.push_back({gate.name, word(gate.state), fmt::format("{}", gate.n), percent_text(gate.mean), percent_text(gate.interval.low),
                          percent_text(gate.interval.high), fmt::format("{:.3g}", gate.p)});
  }
  if (rows.empty()) return std::nullopt;
  Figure figure{.title = "The same training?",
                .note = "relative difference of the candidate in per cent; shown equal when the whole interval lies in the shaded margin"};
  figure.data = {{"kind", "forest"}, {"scale", "percent"}, {"reference", 0}, {"label", "difference, %"}, {"rows", rows}};
  figure.tables = {table};
  return figure;
}

Figure pairs_figure(const BenchFolder& bench, const Claim& claim, const std::string& title, double TrialSample::*member) {
  Figure figure{.title = title, .note = "one point a pair, baseline / candidate; the line is the geometric mean with its interval"};
  Table table{.caption = title, .header = {"pair", "first", "ratio"}, .text_columns = 2};
  Json points = Json::array();
  for (const PairRecords& pair : pairs_of(bench.records)) {
    if (pair.pair == 0 || !pair.both_ok()) continue;
    const double ratio = pair.baseline->sample.*member / (pair.candidate->sample.*member);
    const char* first = pair.baseline->position == 0 ? "baseline" : "candidate";
    points.push_back({{"pair", pair.pair}, {"ratio", ratio}, {"first", first}});
    table.rows.push_back({fmt::format("{}", pair.pair), first, ratio_text(ratio)});
  }
  figure.data = {{"kind", "pairs"},     {"label", "baseline / candidate"}, {"points", points},
                 {"mean", claim.ratio}, {"low", claim.interval.low},       {"high", claim.interval.high}};
  figure.tables = {table};
  return figure;
}

Figure order_figure(const BenchFolder& bench, const std::string& title, double TrialSample::*member, double unit) {
  Figure figure{.title = title, .note = "a slope inside an arm, or a step between them, may be the machine and not the candidate"};
  Table table{.caption = title, .header = {"run", "arm", "value"}, .text_columns = 2};
  Json points = Json::array();
  std::size_t number = 0;
  for (const TrialRecord& record : bench.records) {
    ++number;
    if (record.status != TrialStatus::kOk) continue;
    const double value = record.sample.*member / unit;
    points.push_back({{"run", number}, {"value", value}, {"arm", word(record.role)}});
    table.rows.push_back({fmt::format("{}", number), word(record.role), fmt::format("{:.3f}", value)});
  }
  figure.data = {{"kind", "order"}, {"label", title}, {"points", points}};
  figure.tables = {table};
  return figure;
}

// Curves of an arm's valid trials.
Result<std::vector<Curve>> curves_of(const BenchFolder& bench, ArmRole role, const std::string& name, const std::string& source) {
  std::vector<Curve> curves;
  for (const TrialRecord* trial : trials_of(bench.plan.design, bench.records, role)) {
    if (trial->status != TrialStatus::kOk) continue;
    Curve curve = TRY(curve_of(*trial, name, source));
    if (!curve.empty()) curves.push_back(std::move(curve));
  }
  return curves;
}

Status add_loss_figure(const BenchFolder& bench, const char* note_name, const std::string& label, const std::string& source,
                       std::vector<Figure>& figures) {
  std::vector<BandSeries> series;
  bool by_report = false;  // an external command says no steps
  for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) {
    const std::vector<Curve> curves = TRY(curves_of(bench, role, note_name, source));
    if (curves.empty()) continue;
    by_report = by_report || bench.plan.arm(role).external();
    series.push_back({word(role), bench.plan.arm(role).name, band_of(curves)});
  }
  if (series.empty()) return {};
  Figure figure = band_figure(label, by_report ? "report" : "step", series);
  figure.note = "mean of the trials, band from the lowest to the highest";
  figures.push_back(std::move(figure));
  return {};
}

Status add_memory_figure(const BenchFolder& bench, const std::string& source, std::vector<Figure>& figures) {
  Table table{.caption = "Peak of each trial, MB (whole process, as the kernel accounts it)",
              .header = {"arm", "trial", "seconds", "peak MB"},
              .text_columns = 1};
  Json lines = Json::array();
  for (const ArmRole role : {ArmRole::kBaseline, ArmRole::kCandidate}) {
    for (const TrialRecord* trial : trials_of(bench.plan.design, bench.records, role)) {
      if (trial->status != TrialStatus::kOk) continue;
      Json points = Json::array();
      for (const CurvePoint& point : TRY(curve_of(*trial, "memory", source))) points.push_back({point.x, point.y / kMegabyte});
      if (!points.empty()) lines.push_back({{"role", word(role)}, {"name", bench.plan.arm(role).name}, {"points", points}});
      table.rows.push_back({word(role), fmt::format("{}", trial->pair), fmt::format("{:.3f}", trial->sample.wall_seconds),
                            fmt::format("{:.1f}", trial->sample.peak_bytes / kMegabyte)});
    }
  }
  if (lines.empty()) return {};
  Figure figure{.title = "Resident memory", .note = "one line a trial, from the start of its process, as its parent saw it"};
  figure.data = {{"kind", "lines"}, {"x", "seconds"}, {"y", "MB"}, {"zero", true}, {"lines", lines}, {"rules", Json::array()}};
  figure.tables = {table};
  figures.push_back(std::move(figure));
  return {};
}

}  // namespace

Result<BenchFigures> bench_figures(const BenchFolder& bench, const Verdict* verdict, const std::string& source) {
  BenchFigures figures;
  if (verdict == nullptr) {
    figures.certainty.push_back(order_figure(bench, "Seconds of each trial", &TrialSample::wall_seconds, 1));
    figures.certainty.push_back(order_figure(bench, "Peak memory of each trial, MB", &TrialSample::peak_bytes, kMegabyte));
  } else if (verdict->pairs >= 2) {
    figures.certainty.push_back(claims_figure(*verdict, bench.plan.rules));
    if (auto gates = gates_figure(*verdict, bench.plan.rules)) figures.certainty.push_back(std::move(*gates));
    for (const Claim& claim : verdict->claims) {
      const bool speed = claim.name == "speed";
      figures.certainty.push_back(pairs_figure(bench, claim, speed ? "Speed, pair by pair" : "Memory, pair by pair",
                                               speed ? &TrialSample::wall_seconds : &TrialSample::peak_bytes));
    }
  }
  TRY(add_loss_figure(bench, "train_losses", "training loss", source, figures.losses));
  TRY(add_loss_figure(bench, "val_losses", "validation loss", source, figures.losses));
  TRY(add_memory_figure(bench, source, figures.memory));
  return figures;
}

}  // namespace evolora
