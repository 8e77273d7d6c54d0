// The search loop: what comes next is decided from the state, done, written to the archive, and only then becomes part of the state.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <vector>

#include "evolve/archive/archive.h"
#include "evolve/judge.h"
#include "evolve/proposer.h"
#include "evolve/search_state.h"

namespace evolora {

// What a search tells while it runs; of events that were in the archive already it tells nothing.
class SearchObserver {
 public:
  virtual ~SearchObserver() = default;
  virtual void on_run_start(int /*run*/, const RunState& /*state*/) {}
  virtual void on_event(const SearchEvent& /*event*/, const RunState& /*state*/) {}  // after it was written
  virtual void on_run_end(int /*run*/, const RunState& /*state*/) {}
  virtual void on_confirm_start(const Finalist& /*finalist*/, std::size_t /*index*/, std::size_t /*count*/) {}
};

// All outlive the search.
struct SearchParts {
  const GeneSpace* space = nullptr;
  // Genes of a candidate whose sources decide which it has. Empty: *space, whatever the candidate.
  std::function<Result<GeneSpace>(const Candidate&)> genes_of;
  // The same text for candidates that are the same program. Empty: their digest.
  std::function<Result<std::string>(const Candidate&)> program_digest;
  std::vector<Proposer*> proposers;  // one per run of the plan
  Judge* judge = nullptr;
  Archive* archive = nullptr;  // its plan is this plan; nothing: the search begins anew and is not kept
  SearchObserver* observer = nullptr;
  const std::atomic<bool>* stop = nullptr;  // may be null
};

// Goes on from where the archive ends until every run has ended and every finalist is confirmed. Random numbers of proposal n of run r: stream 2 n
// (the search's choice of a parent) and 2 n + 1 (the proposer's) of a seed made from (plan.seed, r).
// Errors: kInterrupted (what is finished is in the archive); kDependency when the judge does not score the start; those of judge, proposer, archive.
Result<SearchState> run_search(const SearchPlan& plan, const SearchParts& parts);

// Of a judging: the same for the same place in the same plan.
std::uint64_t judging_seed(const SearchPlan& plan, int run, std::int64_t number, MeasurementKind kind, std::size_t repetition);

}  // namespace evolora
