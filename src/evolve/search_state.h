// The state of a search: a pure function of its plan and of the events that happened. What comes next is a pure function of plan and state, so a
// search that was killed goes on as if it had not been.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "evolve/archive/archive.h"
#include "evolve/population.h"
#include "evolve/search_plan.h"

namespace evolora {

// One proposer's run.
struct RunState {
  Population population;
  std::int64_t evaluations = 0;
  double seconds = 0;  // of judging, the baseline's own included
  std::int64_t tokens = 0;
  double money = 0;
  std::int64_t last_best_at = 0;       // evaluations when the best last changed
  std::optional<std::int64_t> leader;  // number of the best, if it is not the baseline
  std::vector<std::size_t> again;      // re-measurements so far, by number
  std::int64_t empty_proposals = 0;    // in a row, up to now: no candidate came of them
  std::string ended;                   // why; empty: it goes on
};

// One finalist and what became of it.
struct Finalist {
  int run = 0;
  std::int64_t number = 0;
  std::optional<Judgement> confirmation;  // nothing: not yet
  double p = 1;                           // Holm-adjusted over all finalists, one-sided: the gain is not above min_effect. 1 until all are confirmed
  bool accepted = false;                  // the judge accepted it, and p <= alpha / 2
};

struct SearchState {
  std::vector<RunState> runs;
  struct Confirmation {
    int run = 0;
    std::int64_t number = 0;
    Judgement judgement;
  };
  std::vector<Confirmation> confirmations;  // in order
};

SearchState initial_state(const SearchPlan& plan);
// kCorrupt naming source if the event cannot follow.
Status apply_event(const SearchPlan& plan, SearchState& state, const SearchEvent& event, const std::string& source);
Result<SearchState> replay(const SearchPlan& plan, const std::vector<SearchEvent>& events, const std::string& source);

// Why a run ends now; empty: it goes on.
std::string end_of_run(const SearchPlan& plan, const RunState& run);
// The leader, if it must be measured again before it may stay: fewer than plan.settled measurements.
std::optional<std::int64_t> to_measure_again(const SearchPlan& plan, const RunState& run);

// Of every run the best plan.finalists whose bound is above the baseline, and one more for plan.inexact_genes; a candidate that several runs found is
// confirmed once. Best of each run first. Final when all runs have ended.
std::vector<Finalist> finalists(const SearchPlan& plan, const SearchState& state);
// Was each of them put to its confirmation, whatever came of it?
bool all_confirmed(const std::vector<Finalist>& all);
// Have all runs ended, and are all finalists confirmed?
bool has_ended(const SearchPlan& plan, const SearchState& state);
// The accepted finalist with the highest fitness in the search: chosen by data that its confirmation has not seen. Nothing: no claim.
std::optional<Finalist> winner(const SearchPlan& plan, const SearchState& state);

}  // namespace evolora
