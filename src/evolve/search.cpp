// One step after the other.
#include "evolve/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/check.h"

namespace evolora {
namespace {

bool stopped(const SearchParts& parts) { return parts.stop != nullptr && parts.stop->load(); }

std::uint64_t run_seed(const SearchPlan& plan, int run) { return Random(plan.seed, static_cast<std::uint64_t>(run)).bits(); }

// Exploring: any elite of the island. Exploiting: the better the likelier, each half as likely as the one before it; sometimes the best of all.
const Individual* choose_parent(const SearchPlan& plan, const std::vector<const Individual*>& elites, const std::vector<const Individual*>& best,
                                Random& random) {
  if (elites.empty()) return nullptr;
  if (random.uniform() < plan.explore) return elites[random.below(elites.size())];
  constexpr double kBestOfAll = 0.2;
  if (random.uniform() < kBestOfAll) return best.front();
  std::size_t rank = 0;
  while (rank + 1 < elites.size() && random.below(2) == 1) ++rank;
  return elites[rank];
}

class SearchLoop {
 public:
  SearchLoop(const SearchPlan& plan, const SearchParts& parts, SearchState state) : plan_(plan), parts_(parts), state_(std::move(state)) {}

  Result<SearchState> run() {
    for (std::size_t r = 0; r < state_.runs.size(); ++r) TRY(finish_run(static_cast<int>(r)));
    TRY(confirm_finalists());
    return std::move(state_);
  }

 private:
  Error interrupted() const { return Error{ErrorCode::kInterrupted, "interrupted; what is finished is kept: go on with --resume"}; }

  Status record(const SearchEvent& event) {
    if (parts_.archive != nullptr) TRY(parts_.archive->append(event));
    TRY(apply_event(plan_, state_, event, "search"));
    parts_.observer->on_event(event, state_.runs[static_cast<std::size_t>(event.run)]);
    return {};
  }

  Status finish_run(int r) {
    RunState& run = state_.runs[static_cast<std::size_t>(r)];
    bool announced = false;
    while (true) {
      if (run.population.size() > 0 && run.population.at(0).judgement.outcome != Outcome::kScored) {
        const Judgement& why = run.population.at(0).judgement;
        return Error{ErrorCode::kDependency, fmt::format("the start itself is not scored, so nothing can be compared with it: {} at gate {}: {}",
                                                         word(why.outcome), why.gate, why.reason)};
      }
      run.ended = end_of_run(plan_, run);
      if (!run.ended.empty()) break;
      if (stopped(parts_)) return interrupted();
      if (!announced) parts_.observer->on_run_start(r, run);
      announced = true;
      const auto again = to_measure_again(plan_, run);
      if (run.population.size() == 0) {
        TRY(judge_start(r));
      } else if (again) {
        TRY(measure_again(r, *again));
      } else {
        TRY(judge_next(r));
      }
    }
    if (announced) parts_.observer->on_run_end(r, run);
    return {};
  }

  Status judge_start(int r) {
    Individual start{.candidate = plan_.start, .digest = plan_.start.digest(), .origin = "start"};
    return judge(r, std::move(start));
  }

  Status judge(int r, Individual individual) {
    const RunState& run = state_.runs[static_cast<std::size_t>(r)];
    SearchEvent event{.run = r, .kind = MeasurementKind::kJudge, .number = individual.number};
    event.seed = judging_seed(plan_, r, individual.number, event.kind, 0);
    parts_.judge->set_incumbent(run.leader ? std::optional(run.population.at(*run.leader).judgement) : std::nullopt);
    event.judgement = TRY(parts_.judge->judge(individual.candidate, event.seed, parts_.stop));
    individual.judgement = event.judgement;
    event.individual = std::move(individual);
    return record(event);
  }

  Status measure_again(int r, std::int64_t number) {
    const RunState& run = state_.runs[static_cast<std::size_t>(r)];
    SearchEvent event{.run = r, .kind = MeasurementKind::kAgain, .number = number};
    event.seed = judging_seed(plan_, r, number, event.kind, run.again[static_cast<std::size_t>(number)]);
    event.judgement = TRY(parts_.judge->measure_again(run.population.at(number).candidate, event.seed, parts_.stop));
    return record(event);
  }

  Status judge_next(int r) {
    RunState& run = state_.runs[static_cast<std::size_t>(r)];
    const std::int64_t number = run.population.size();
    const std::uint64_t seed = run_seed(plan_, r);
    PopulationView view{.island = run.population.island_of(number), .history = run.population.history()};
    view.elites = run.population.elites(view.island);
    view.best = run.population.best();
    Random choice(seed, 2 * static_cast<std::uint64_t>(number));
    view.parent = choose_parent(plan_, view.elites, view.best, choice);
    // The parent was judged, so its genes can be read.
    const GeneSpace genes = view.parent == nullptr ? *parts_.space : TRY(genes_of(view.parent->candidate));
    view.space = &genes;
    Random random(seed, 2 * static_cast<std::uint64_t>(number) + 1);
    auto proposal = parts_.proposers[static_cast<std::size_t>(r)]->propose(view, random);
    if (!proposal.ok()) {
      if (proposal.error().code == ErrorCode::kUsage || proposal.error().code == ErrorCode::kUnsupported) {
        run.ended = proposal.error().message;
        return {};
      }
      return proposal.error();
    }
    Individual individual{.number = number,
                          .island = view.island,
                          .candidate = std::move(proposal->candidate),
                          .parents = std::move(proposal->parents),
                          .origin = std::move(proposal->origin),
                          .rejected = std::move(proposal->rejected),
                          .record = std::move(proposal->record)};
    individual.digest = individual.candidate.digest();
    if (individual.rejected.empty()) individual.rejected = refusal(view, individual);
    if (individual.rejected.empty()) return judge(r, std::move(individual));
    SearchEvent event{.run = r, .kind = MeasurementKind::kJudge, .number = number};
    event.judgement.gate = "parse";
    event.judgement.reason = individual.rejected;
    individual.judgement = event.judgement;
    event.individual = std::move(individual);
    return record(event);
  }

  Result<GeneSpace> genes_of(const Candidate& candidate) const {
    if (!parts_.genes_of) return *parts_.space;
    return parts_.genes_of(candidate);
  }

  // Nothing for what is no program; the judge says why.
  std::optional<std::string> program_of(const Individual& individual) {
    if (!parts_.program_digest) return individual.digest;
    const auto known = programs_.find(individual.digest);
    if (known != programs_.end()) return known->second;
    const auto digest = parts_.program_digest(individual.candidate);
    return programs_[individual.digest] = digest.ok() ? std::optional(*digest) : std::nullopt;
  }

  // What no judge has to look at: genes outside the space, and what was there before.
  std::string refusal(const PopulationView& view, const Individual& individual) {
    const auto genes = genes_of(individual.candidate);
    if (!genes.ok()) return genes.error().message;
    const auto canonical = genes->canonical(individual.candidate.genome);
    if (!canonical.ok()) return canonical.error().message;
    if (*canonical != individual.candidate.genome) return "the genome is not in canonical form";
    const auto program = program_of(individual);
    for (const Individual* each : view.history) {
      const bool same = each->digest == individual.digest || (program && each->rejected.empty() && program_of(*each) == program);
      if (same && each->rejected.empty()) return fmt::format("duplicate: the same as individual {}", each->number);
    }
    return "";
  }

  Status confirm_finalists() {
    const std::vector<Finalist> all = finalists(plan_, state_);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].confirmation) continue;
      if (stopped(parts_)) return interrupted();
      parts_.observer->on_confirm_start(all[i], i, all.size());
      const RunState& run = state_.runs[static_cast<std::size_t>(all[i].run)];
      SearchEvent event{.run = all[i].run, .kind = MeasurementKind::kConfirm, .number = all[i].number};
      event.seed = judging_seed(plan_, event.run, event.number, event.kind, 0);
      event.judgement = TRY(parts_.judge->confirm(run.population.at(event.number).candidate, event.seed, parts_.stop));
      TRY(record(event));
    }
    return {};
  }

  const SearchPlan& plan_;
  const SearchParts& parts_;
  SearchState state_;
  std::map<std::string, std::optional<std::string>> programs_;  // by digest of the candidate
};

}  // namespace

std::uint64_t judging_seed(const SearchPlan& plan, int run, std::int64_t number, MeasurementKind kind, std::size_t repetition) {
  const std::uint64_t place = (static_cast<std::uint64_t>(number) * 3 + static_cast<std::uint64_t>(kind)) * 4096 + repetition;
  // Another family than the proposals' numbers.
  return Random(~run_seed(plan, run), place).bits();
}

Result<SearchState> run_search(const SearchPlan& plan, const SearchParts& parts) {
  CHECK(parts.space != nullptr && parts.judge != nullptr && parts.observer != nullptr);
  CHECK(parts.proposers.size() == plan.proposers.size());
  std::vector<SearchEvent> events;
  if (parts.archive != nullptr) events = TRY(parts.archive->events());
  SearchState state = TRY(replay(plan, events, "archive"));
  return SearchLoop(plan, parts, std::move(state)).run();
}

}  // namespace evolora
