// Figures of a search. The fields of a figure's data are described in assets/charts.js.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "report/search_report.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

// In the order in which judges apply them.
constexpr const char* kGates[] = {"parse", "rules", "compile", "numerics", "determinism", "microbenchmark", "training", "bench"};

// The best of one run after one evaluation: ratio to the start, with bounds.
struct BestPoint {
  std::int64_t evaluations = 0;
  std::int64_t number = 0;
  double mean = 1;
  double low = 1;
  double high = 1;
};

// Nothing for a best that lacks this measurement.
std::optional<BestPoint> point_of(const RunState& run, const std::vector<double> Judgement::*logs) {
  BestPoint point{.evaluations = run.evaluations};
  if (!run.leader) return point;  // the start itself: 1 by definition
  const std::vector<double>& measured = run.population.at(*run.leader).judgement.*logs;
  point.number = *run.leader;
  if (measured.empty()) return std::nullopt;
  point.mean = std::exp(summarize(measured).mean);
  point.low = std::exp(lower_bound(measured));
  point.high = std::exp(upper_bound(measured));
  return point;
}

using BestLine = std::vector<BestPoint>;

void add(BestLine& line, const std::optional<BestPoint>& point) {
  if (!point) return;
  if (!line.empty() && line.back().evaluations == point->evaluations) line.pop_back();
  line.push_back(*point);
}

Figure best_figure(const std::string& what, const SearchPlan& plan, const std::vector<BestLine>& lines) {
  Figure figure{
      .title = "Best so far, " + what,
      .note = "start / best, above 1 is better; the band is its bounds at 90 %, one-sided; a bound falls when a lucky best is measured again"};
  Table table{.caption = figure.title, .header = {"proposer", "evaluations", "individual", "ratio", "at least", "at most"}};
  Json series = Json::array();
  for (std::size_t r = 0; r < lines.size(); ++r) {
    Json points = Json::array();
    const BestPoint* before = nullptr;
    for (const BestPoint& point : lines[r]) {
      points.push_back({point.evaluations, point.mean, point.low, point.high});
      const bool is_new = before == nullptr || before->number != point.number || before->mean != point.mean;
      before = &point;
      if (!is_new) continue;
      table.rows.push_back({plan.proposers[r], fmt::format("{}", point.evaluations), fmt::format("{}", point.number),
                            fmt::format("{:.4f}", point.mean), fmt::format("{:.4f}", point.low), fmt::format("{:.4f}", point.high)});
    }
    series.push_back({{"role", r == 0 ? "first" : fmt::format("run {}", r)}, {"name", plan.proposers[r]}, {"points", points}});
  }
  figure.data = {{"kind", "bands"}, {"x", "evaluations"}, {"y", what}, {"series", series}};
  figure.tables = {table};
  return figure;
}

}  // namespace

Result<std::vector<Figure>> best_over_time(const SearchPlan& plan, const std::vector<SearchEvent>& events, const std::string& source) {
  SearchState state = initial_state(plan);
  std::vector<BestLine> speed(plan.proposers.size()), memory(plan.proposers.size());
  bool has_memory = false;
  for (const SearchEvent& event : events) {
    TRY(apply_event(plan, state, event, source));
    if (event.kind == MeasurementKind::kConfirm) continue;
    const auto r = static_cast<std::size_t>(event.run);
    add(speed[r], point_of(state.runs[r], &Judgement::log_speed));
    add(memory[r], point_of(state.runs[r], &Judgement::log_memory));
    has_memory = has_memory || !event.judgement.log_memory.empty();
  }
  std::vector<Figure> figures;
  if (events.empty()) return figures;
  figures.push_back(best_figure("speed", plan, speed));
  if (has_memory) figures.push_back(best_figure("memory", plan, memory));
  return figures;
}

std::vector<Figure> gates_funnel(const SearchState& state) {
  std::map<std::string, std::map<Outcome, std::int64_t>> ended;  // at which gate
  std::vector<std::string> gates(std::begin(kGates), std::end(kGates));
  std::int64_t proposed = 0, scored = 0;
  for (const RunState& run : state.runs) {
    for (const Individual* one : run.population.history()) {
      if (one->number == 0) continue;
      ++proposed;
      if (one->judgement.outcome == Outcome::kScored) {
        ++scored;
        continue;
      }
      const std::string& gate = one->judgement.gate;
      ++ended[gate][one->judgement.outcome];
      if (std::find(gates.begin(), gates.end(), gate) == gates.end()) gates.push_back(gate);
    }
  }
  if (proposed == 0) return {};
  Figure figure{.title = "What became of the proposals",
                .note = "how many were left after each gate that ended some; only what is scored can become the best"};
  Table table{.caption = figure.title, .header = {"gate", "rejected", "inconclusive", "quarantined", "left"}};
  table.rows.push_back({"proposed", "", "", "", fmt::format("{}", proposed)});
  Json rows = Json::array();
  rows.push_back({{"name", "proposed"}, {"value", proposed}});
  std::int64_t left = proposed;
  for (const std::string& gate : gates) {
    const auto found = ended.find(gate);
    if (found == ended.end()) continue;
    std::map<Outcome, std::int64_t>& at = found->second;
    for (const auto& [outcome, count] : at) left -= count;
    rows.push_back({{"name", "after " + gate}, {"value", left}});
    table.rows.push_back({gate, fmt::format("{}", at[Outcome::kRejected]), fmt::format("{}", at[Outcome::kInconclusive]),
                          fmt::format("{}", at[Outcome::kQuarantined]), fmt::format("{}", left)});
  }
  rows.push_back({{"name", "scored"}, {"value", scored}});
  table.rows.push_back({"scored", "", "", "", fmt::format("{}", scored)});
  figure.data = {{"kind", "bars"}, {"label", "proposals"}, {"rows", rows}};
  figure.tables = {table};
  return {figure};
}

namespace {

std::string individual_line(const Individual& one) {
  const Judgement& judged = one.judgement;
  const std::string result = judged.outcome == Outcome::kScored ? measured_text(judged) : fmt::format("{} at {}", word(judged.outcome), judged.gate);
  return fmt::format("{} {}: {}", one.number, one.origin, result);
}

// Parents come before their children; whatever else an archive says leads to the start.
std::int64_t first_parent(const Individual& one) {
  const std::int64_t parent = one.parents.empty() ? 0 : one.parents.front();
  return parent >= 0 && parent < one.number ? parent : 0;
}

struct Tree {
  std::map<std::int64_t, std::vector<const Individual*>> children;  // of a first parent
  std::string text;
  std::size_t lines = 0;
  bool is_cut = false;

  void write(const Individual& one, const std::string& before_it, const std::string& before_children) {
    // Depth is bounded by the lines: each level has one.
    is_cut = is_cut || lines >= kMostLines;
    if (is_cut) return;
    ++lines;
    text += before_it + individual_line(one) + "\n";
    const auto& below = children[one.number];
    for (std::size_t i = 0; i < below.size(); ++i) {
      const bool last = i + 1 == below.size();
      write(*below[i], before_children + (last ? "`- " : "|- "), before_children + (last ? "   " : "|  "));
    }
  }
};

}  // namespace

std::string lineage_text(const Population& population) {
  if (population.size() == 0) return "";
  const auto history = population.history();
  const auto candidates = std::count_if(history.begin(), history.end(), [](const Individual* one) { return one->rejected.empty(); });
  const bool only_scored = static_cast<std::size_t>(candidates) > kMostLines;
  const auto is_shown = [&](const Individual& one) {
    return one.number == 0 || (one.rejected.empty() && (!only_scored || one.judgement.outcome == Outcome::kScored));
  };
  Tree tree;
  for (const Individual* one : history) {
    if (one->number == 0 || !is_shown(*one)) continue;
    std::int64_t parent = first_parent(*one);
    while (!is_shown(population.at(parent))) parent = first_parent(population.at(parent));
    tree.children[parent].push_back(one);
  }
  tree.write(population.at(0), "", "");
  if (tree.is_cut) tree.text += "...\n";
  return tree.text;
}

}  // namespace evolora
