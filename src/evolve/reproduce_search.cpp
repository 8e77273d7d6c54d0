// The search loop itself, with a judge that reads what another one found.
#include "evolve/reproduce_search.h"

#include <fmt/format.h>

namespace evolora {
namespace {

// What an event says of how it came about, judgements aside.
std::string story_of(const SearchEvent& event) {
  std::string text = fmt::format("run {}, {} of individual {}, seed {}", event.run, word(event.kind), event.number, event.seed);
  if (!event.individual) return text;
  const Individual& one = *event.individual;
  text += fmt::format(", {} on island {}, candidate {}, rejected '{}', parents", one.origin, one.island, one.candidate.digest(), one.rejected);
  for (const std::int64_t parent : one.parents) text += fmt::format(" {}", parent);
  return text + ", record " + one.record.dump();
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
    if (at_ == events_.size()) {
      difference_ = fmt::format("{}: it ends after {} events, and the search goes on with: {}", source_, at_, story_of(made));
      return;
    }
    const std::string now = story_of(made), then = story_of(events_[at_]);
    if (now != then) {
      difference_ = fmt::format("{}: event {}: the search makes '{}', the archive has '{}'", source_, at_, now, then);
      return;
    }
    counts_.measurements += made.individual && !made.individual->rejected.empty() ? 0 : 1;
    counts_.proposals += made.individual && made.number > 0 ? 1 : 0;
    ++at_;
  }

  Status check() const {
    if (difference_.empty()) return {};
    return Error{ErrorCode::kCorrupt, difference_};
  }
  // Is the next event a proposal of this run?
  bool proposes(int run) const { return at_ < events_.size() && events_[at_].run == run && events_[at_].kind == MeasurementKind::kJudge; }
  Reproduction counts() const { return counts_; }

 private:
  Result<Judgement> next() const {
    TRY(check());
    if (at_ == events_.size()) return Error{ErrorCode::kInterrupted, "the archive has no more"};
    return events_[at_].judgement;
  }

  const std::vector<SearchEvent>& events_;
  std::string source_;
  std::size_t at_ = 0;
  std::string difference_;  // the first one; empty: none
  Reproduction counts_;
};

// Ends its run where the archive has no more of it.
class ArchivedRun final : public Proposer {
 public:
  ArchivedRun(int run, Proposer& proposer, const ArchivedJudge& archive) : run_(run), proposer_(proposer), archive_(archive) {}

  std::string name() const override { return proposer_.name(); }
  Result<Proposal> propose(const PopulationView& view, Random& random) override {
    TRY(archive_.check());
    if (!archive_.proposes(run_)) return Error{ErrorCode::kUsage, "the archive has no more proposals of this run"};
    return proposer_.propose(view, random);
  }

 private:
  int run_;
  Proposer& proposer_;
  const ArchivedJudge& archive_;
};

}  // namespace

Result<Reproduction> reproduce_search(const SearchPlan& plan, const std::vector<SearchEvent>& events, SearchParts parts, const std::string& source) {
  ArchivedJudge archive(events, source);
  std::vector<ArchivedRun> runs;
  runs.reserve(parts.proposers.size());
  for (std::size_t r = 0; r < parts.proposers.size(); ++r) runs.emplace_back(static_cast<int>(r), *parts.proposers[r], archive);
  for (std::size_t r = 0; r < runs.size(); ++r) parts.proposers[r] = &runs[r];
  parts.judge = &archive;
  parts.observer = &archive;
  parts.archive = nullptr;
  parts.stop = nullptr;
  const Result<SearchState> state = run_search(plan, parts);
  TRY(archive.check());
  if (!state.ok() && state.error().code != ErrorCode::kInterrupted) return state.error();
  Reproduction out = archive.counts();
  const SearchState archived = TRY(replay(plan, events, source));
  out.ended = has_ended(plan, archived);
  return out;
}

}  // namespace evolora
