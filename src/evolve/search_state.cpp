// Events to state, state to decisions.
#include "evolve/search_state.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "measure/estimators.h"

namespace evolora {
namespace {

// Proposals without a candidate that end a run: a proposer that gives nothing would go on for ever.
constexpr std::int64_t kMostEmpty = 100;

double number_in(const nlohmann::ordered_json& record, const char* field) {
  const auto found = record.find(field);
  return found != record.end() && found->is_number() ? found->get<double>() : 0;
}

void find_leader(RunState& run) {
  const auto best = run.population.best();
  std::optional<std::int64_t> leader;
  if (!best.empty() && best.front()->number != 0) leader = best.front()->number;
  if (leader != run.leader) run.last_best_at = run.evaluations;
  run.leader = leader;
}

// p of "the gain is not above min_effect", from a confirmation's raw pairs.
double p_of(const SearchPlan& plan, const Judgement& judgement) {
  const double gain = std::log1p(plan.min_effect);
  const auto p = [&](const std::vector<double>& logs) { return logs.size() < 2 ? 1.0 : one_sample_t(logs, gain).p_greater; };
  if (plan.objective == Objective::kSpeed) return p(judgement.log_speed);
  if (plan.objective == Objective::kMemory) return p(judgement.log_memory);
  const std::vector<double> both = {p(judgement.log_speed), p(judgement.log_memory)};
  const std::vector<double> adjusted = holm_adjusted(both);
  return *std::min_element(adjusted.begin(), adjusted.end());
}

bool is_exact(const SearchPlan& plan, const Individual& one) {
  const auto value = [](const Genome& genome, const std::string& gene) {
    const auto found = genome.find(gene);
    return found == genome.end() ? nlohmann::ordered_json() : found->second;
  };
  return std::all_of(plan.inexact_genes.begin(), plan.inexact_genes.end(),
                     [&](const std::string& gene) { return value(one.candidate.genome, gene) == value(plan.start.genome, gene); });
}

// A run's finalists.
std::vector<const Individual*> best_of_run(const SearchPlan& plan, const Population& population) {
  std::vector<const Individual*> out;
  bool exact = false;
  for (const Individual* one : population.best()) {
    if (one->number == 0 || *one->fitness <= 0) continue;
    if (out.size() >= plan.finalists && (exact || !is_exact(plan, *one))) continue;
    out.push_back(one);
    exact = exact || is_exact(plan, *one);
  }
  return out;
}

}  // namespace

SearchState initial_state(const SearchPlan& plan) {
  SearchState state;
  for (std::size_t i = 0; i < plan.proposers.size(); ++i) state.runs.push_back({Population(plan.objective, plan.islands, plan.migration_every)});
  return state;
}

Status apply_event(const SearchPlan& plan, SearchState& state, const SearchEvent& event, const std::string& source) {
  const auto wrong = [&](const char* what) {
    return Error{ErrorCode::kCorrupt, fmt::format("{}: {} of individual {} in run {}: {}; the archive does not follow from its plan", source,
                                                  word(event.kind), event.number, event.run, what)};
  };
  if (event.run < 0 || static_cast<std::size_t>(event.run) >= plan.proposers.size()) return wrong("there is no such run");
  RunState& run = state.runs[static_cast<std::size_t>(event.run)];
  if (event.kind == MeasurementKind::kJudge) {
    if (!event.individual || event.number != run.population.size()) return wrong("it is not the next one");
    if (event.individual->island != run.population.island_of(event.number)) return wrong("it is on another island");
    const bool empty = !event.individual->rejected.empty();
    run.empty_proposals = empty ? run.empty_proposals + 1 : 0;
    if (!empty && event.number > 0) ++run.evaluations;
    run.tokens += std::llround(std::clamp(number_in(event.individual->record, "tokens"), 0.0, 1e12));
    run.money += number_in(event.individual->record, "cost");
    Individual individual = *event.individual;
    individual.judgement = event.judgement;
    run.population.add(std::move(individual));
    run.again.push_back(0);
  } else {
    if (event.number < 0 || event.number >= run.population.size()) return wrong("there is no such individual");
    if (event.kind == MeasurementKind::kConfirm) {
      state.confirmations.push_back({event.run, event.number, event.judgement});
      // Confirming begins when all runs are over. Of one that no budget ended the archive does not say why.
      for (RunState& over : state.runs) {
        if (end_of_run(plan, over).empty()) over.ended = "its proposer had nothing left";
      }
      return {};
    }
    ++run.evaluations;
    ++run.again[static_cast<std::size_t>(event.number)];
    run.population.add_measurement(event.number, event.judgement);
  }
  run.seconds += event.judgement.seconds;
  find_leader(run);
  return {};
}

Result<SearchState> replay(const SearchPlan& plan, const std::vector<SearchEvent>& events, const std::string& source) {
  SearchState state = initial_state(plan);
  for (const SearchEvent& event : events) TRY(apply_event(plan, state, event, source));
  return state;
}

std::string end_of_run(const SearchPlan& plan, const RunState& run) {
  if (!run.ended.empty()) return run.ended;
  const SearchBudget& budget = plan.budget;
  if (budget.evaluations > 0 && run.evaluations >= budget.evaluations) return fmt::format("{} evaluations are spent", budget.evaluations);
  if (budget.seconds > 0 && run.seconds >= budget.seconds) return fmt::format("{:.0f} seconds of judging are spent", budget.seconds);
  if (budget.tokens > 0 && run.tokens >= budget.tokens) return fmt::format("{} tokens are spent", budget.tokens);
  if (budget.money > 0 && run.money >= budget.money) return "the money is spent";
  if (run.empty_proposals >= kMostEmpty) return fmt::format("{} proposals in a row were no candidates", kMostEmpty);
  if (to_measure_again(plan, run)) return "";
  if (plan.target && run.leader && *run.population.at(*run.leader).fitness >= std::log(*plan.target)) return "the target is reached";
  if (plan.stagnation > 0 && run.evaluations - run.last_best_at >= plan.stagnation) {
    return fmt::format("no better candidate in {} evaluations", plan.stagnation);
  }
  return "";
}

std::optional<std::int64_t> to_measure_again(const SearchPlan& plan, const RunState& run) {
  if (!run.leader) return std::nullopt;
  const bool enough = run.population.at(*run.leader).judgement.log_speed.size() >= plan.settled;
  // A judge that gives no numbers any more is not asked for ever.
  if (enough || run.again[static_cast<std::size_t>(*run.leader)] >= plan.settled) return std::nullopt;
  return run.leader;
}

std::vector<Finalist> finalists(const SearchPlan& plan, const SearchState& state) {
  std::vector<Finalist> out;
  std::set<std::string> digests;
  for (std::size_t r = 0; r < state.runs.size(); ++r) {
    for (const Individual* one : best_of_run(plan, state.runs[r].population)) {
      if (digests.insert(one->digest).second) out.push_back({.run = static_cast<int>(r), .number = one->number});
    }
  }
  std::vector<double> p;
  for (Finalist& finalist : out) {
    for (const auto& confirmation : state.confirmations) {
      if (confirmation.run == finalist.run && confirmation.number == finalist.number) finalist.confirmation = confirmation.judgement;
    }
    if (finalist.confirmation) p.push_back(std::min(1.0, plan.confirm_looks * p_of(plan, *finalist.confirmation)));
  }
  if (p.size() < out.size()) return out;
  const std::vector<double> adjusted = holm_adjusted(p);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i].p = adjusted[i];
    out[i].accepted = out[i].confirmation->outcome == Outcome::kScored && adjusted[i] <= plan.alpha / 2;
  }
  return out;
}

bool all_confirmed(const std::vector<Finalist>& all) {
  return std::all_of(all.begin(), all.end(), [](const Finalist& one) { return one.confirmation.has_value(); });
}

bool has_ended(const SearchPlan& plan, const SearchState& state) {
  const bool runs_ended = std::all_of(state.runs.begin(), state.runs.end(), [&](const RunState& run) { return !end_of_run(plan, run).empty(); });
  return runs_ended && all_confirmed(finalists(plan, state));
}

std::optional<Finalist> winner(const SearchPlan& plan, const SearchState& state) {
  std::optional<Finalist> best;
  const auto fitness = [&](const Finalist& f) { return *state.runs[static_cast<std::size_t>(f.run)].population.at(f.number).fitness; };
  for (const Finalist& finalist : finalists(plan, state)) {
    if (finalist.accepted && (!best || fitness(finalist) > fitness(*best))) best = finalist;
  }
  return best;
}

}  // namespace evolora
