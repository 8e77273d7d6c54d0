// The search loop itself, with a judge that reads what another one found.
#include "evolve/reproduce_search.h"

#include <fmt/format.h>

namespace evolora {
namespace {

// What an event says of how it came about; of a proposal that no judge saw, also what it was refused for.
std::string story_of(const SearchEvent& event) {
  std::string text = fmt::format("run {}, {} of individual {}, seed {}", event.run, word(event.kind), event.number, event.seed);
  if (!event.individual) return text;
  const Individual& one = *event.individual;
  text += fmt::format(", {} on island {}, candidate {}, parents", one.origin, one.island, one.candidate.digest());
  for (const std::int64_t parent : one.parents) text += fmt::format(" {}", parent);
  text += ", record " + one.record.dump();
  if (!one.rejected.empty()) text += fmt::format(", rejected '{}', {}", one.rejected, judgement_to_json(event.judgement).dump());
  return text;
}

class ArchivedJudge final : public Judge, public SearchObserver {
 public:
  ArchivedJudge(const std::vector<SearchEvent>& events, std::string source) : events_(events), source_(std::move(source)) {}

  Result<Judgement> judge(const Candidate& /*candidate*/, std::uint64_t /*seed*/, const std::atomic<bool>* /*stop*/) override { return next(); }
  Result<Judgement> measure_again(const Candidate& /*candidate*/, std::uint64_t /*seed*/, const std::atomic<bool>* /*stop*/) override {
    return next();
  }
  Result<Judgement> confirm(const Candidate& /*candidate*/, std::uint64_t /*seed*/, const std::atomic<bool>* /*stop*/) override { return next(); }

  // An event may be compared only here: after the judge, when the search has made all of it.
  void on_event(const SearchEvent& made, const RunState& /*state*/) override {
    if (!difference_.empty()) return;
    if (const std::string now = story_of(made); now != archived()) return differs(now);
    counts_.measurements += made.individual && !made.individual->rejected.empty() ? 0 : 1;
    counts_.proposals += made.individual && made.number > 0 ? 1 : 0;
    ++at_;
  }

  void differs(const std::string& made) { difference_ = fmt::format("{}: the search makes '{}', the archive has '{}'", place(), made, archived()); }
  Status check() const {
    if (difference_.empty()) return {};
    return Error{ErrorCode::kCorrupt, difference_};
  }
  std::string place() const { return fmt::format("{}: event {}", source_, at_); }
  bool ended() const { return at_ == events_.size(); }
  // Does the archive go on with this run?
  bool goes_on(int run) const { return !ended() && events_[at_].run == run && events_[at_].kind != MeasurementKind::kConfirm; }
  Reproduction counts() const { return counts_; }

 private:
  std::string archived() const { return ended() ? "nothing more" : story_of(events_[at_]); }
  Result<Judgement> next() const {
    TRY(check());
    if (ended()) return Error{ErrorCode::kInterrupted, "the archive has no more"};
    return events_[at_].judgement;
  }

  const std::vector<SearchEvent>& events_;
  std::string source_;
  std::size_t at_ = 0;
  std::string difference_;  // the first one; empty: none
  Reproduction counts_;
};

class ArchivedRun final : public Proposer {
 public:
  ArchivedRun(int run, Proposer& proposer, bool is_model, ArchivedJudge& archive)
      : run_(run), proposer_(proposer), is_model_(is_model), archive_(archive) {}

  bool excused() const { return excused_; }
  std::string name() const override { return proposer_.name(); }
  Result<Proposal> propose(const PopulationView& view, Random& random) override {
    TRY(archive_.check());
    const bool goes_on = archive_.goes_on(run_);
    if (!goes_on && is_model_) {
      excused_ = true;
      return Error{ErrorCode::kUsage, "the archive has no more proposals of this run"};
    }
    Result<Proposal> proposal = proposer_.propose(view, random);
    if (proposal.ok() && !goes_on) {
      if (archive_.ended()) return Error{ErrorCode::kInterrupted, "the archive has no more"};
      archive_.differs(fmt::format("a proposal of run {}", run_));
      TRY(archive_.check());
    }
    if (proposal.ok() || proposal.error().code == ErrorCode::kUsage || proposal.error().code == ErrorCode::kUnsupported) return proposal;
    return Error{proposal.error().code, archive_.place() + ": " + proposal.error().message};
  }

 private:
  int run_;
  Proposer& proposer_;
  bool is_model_;
  ArchivedJudge& archive_;
  bool excused_ = false;
};

}  // namespace

Result<Reproduction> reproduce_search(const SearchPlan& plan, const std::vector<SearchEvent>& events, SearchParts parts,
                                      const std::set<std::string>& models, const std::string& source) {
  ArchivedJudge archive(events, source);
  std::vector<ArchivedRun> runs;
  runs.reserve(parts.proposers.size());
  for (std::size_t r = 0; r < parts.proposers.size(); ++r) {
    runs.emplace_back(static_cast<int>(r), *parts.proposers[r], models.contains(plan.proposers[r]), archive);
  }
  for (std::size_t r = 0; r < runs.size(); ++r) parts.proposers[r] = &runs[r];
  parts.judge = &archive;
  parts.observer = &archive;
  parts.archive = nullptr;
  parts.stop = nullptr;
  const Result<SearchState> state = run_search(plan, parts);
  TRY(archive.check());
  const bool failed_start = !state.ok() && state.error().code == ErrorCode::kDependency;  // ends a search, too
  if (!state.ok() && !failed_start && state.error().code != ErrorCode::kInterrupted) return state.error();
  if ((state.ok() || failed_start) && !archive.ended()) archive.differs("nothing more");
  TRY(archive.check());
  Reproduction out = archive.counts();
  for (const ArchivedRun& run : runs) out.excused = out.excused || run.excused();
  const SearchState archived = TRY(replay(plan, events, source));
  out.ended = failed_start || has_ended(plan, archived) || (state.ok() && !out.excused);
  return out;
}

}  // namespace evolora
