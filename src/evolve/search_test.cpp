// The search as a whole with a judge that computes: what it finds, what it never does, and that a killed one goes on to the bit.
#include "evolve/search.h"

#include <gmock/gmock.h>

#include "evolve/reproduce_search.h"
#include "evolve/search_test_support.h"

namespace evolora {
namespace {

class Search : public testing::Test {
 protected:
  Archive new_archive(const std::string& name, const SearchPlan& plan) {
    auto archive = Archive::create(folder_.path() / name, search_plan_to_json(plan));
    CHECK(archive.ok());
    return std::move(*archive);
  }
  SearchState finished(const SearchPlan& plan, TestJudge& judge) {
    Archive archive = new_archive("s" + std::to_string(count_++), plan);
    auto state = search_in(archive, plan, judge);
    CHECK(state.ok());
    return std::move(*state);
  }
  // Of the best that a proposer found.
  double best_gain(const std::string& proposer, std::uint64_t seed) {
    TestJudge judge;
    judge.noise = 0.002;
    const SearchPlan plan = test_plan(proposer, 120, seed);
    const SearchState state = finished(plan, judge);
    const RunState& run = state.runs.front();
    return run.leader ? true_gain(run.population.at(*run.leader).candidate.genome) : 0;
  }
  TestFolder folder_;
  int count_ = 0;
};

TEST_F(Search, ProposersFindWhatRandomDrawsDoNot) {
  double sums[4] = {0, 0, 0, 0};
  const char* const names[4] = {"random", "hill", "evolution", "tpe"};
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    for (int i = 0; i < 4; ++i) sums[i] += best_gain(names[i], seed) / 3;
  }
  for (int i = 1; i < 4; ++i) EXPECT_GT(sums[i], sums[0]) << names[i] << " " << sums[i] << ", random " << sums[0];
  EXPECT_GT(sums[2], 3.2);  // of 3.45
}

// Why a proposer ends its run is in no archive, but what is confirmed says that it did.
TEST_F(Search, ItHasEndedWhenItsFinalistsAreConfirmed) {
  SearchPlan plan = test_plan("evolution", 30, 3);
  TestJudge judge;
  Archive archive = new_archive("ended", plan);
  ASSERT_TRUE(search_in(archive, plan, judge).ok());
  const std::vector<SearchEvent> events = archive.events().value();
  plan.budget.evaluations = 1000;  // so no budget ended it
  SearchState state = initial_state(plan);
  bool confirming = false;
  for (const SearchEvent& event : events) {
    EXPECT_FALSE(has_ended(plan, state));
    EXPECT_EQ(end_of_run(plan, state.runs.front()).empty(), !confirming);
    ASSERT_TRUE(apply_event(plan, state, event, "archive").ok());
    confirming = confirming || event.kind == MeasurementKind::kConfirm;
  }
  ASSERT_TRUE(confirming);
  EXPECT_TRUE(has_ended(plan, state));
}

TEST_F(Search, NeverJudgesTwiceAndNoFailureIsAParent) {
  for (const std::string& name : proposer_names()) {
    TestJudge judge;
    const SearchState state = finished(test_plan(name, 60, 3), judge);
    EXPECT_EQ(judge.duplicates, 0) << name;
    const Population& population = state.runs.front().population;
    for (const Individual* one : population.history()) {
      for (const std::int64_t parent : one->parents) {
        EXPECT_EQ(population.at(parent).judgement.outcome, Outcome::kScored) << name << " " << one->number;
      }
    }
  }
}

// The archive is cut after every event in turn; what the search then does must be what it did.
TEST_F(Search, GoesOnToTheBitFromEveryEvent) {
  for (const std::string& name : proposer_names()) {
    const SearchPlan plan = test_plan(name, 14, 11);
    TestJudge judge;
    Archive whole = new_archive("whole_" + name, plan);
    ASSERT_TRUE(search_in(whole, plan, judge).ok());
    const std::string expected = content_of(whole);
    const auto events = whole.events().value();
    ASSERT_GE(events.size(), 15U);
    for (std::size_t kept = 0; kept < events.size(); ++kept) {
      Archive cut = new_archive("cut_" + name + std::to_string(kept), plan);
      for (std::size_t i = 0; i < kept; ++i) ASSERT_TRUE(cut.append(events[i]).ok());
      TestJudge again;
      ASSERT_TRUE(search_in(cut, plan, again).ok());
      EXPECT_EQ(content_of(cut), expected) << name << ", cut after " << kept;
    }
  }
}

Result<Reproduction> made_again(const SearchPlan& plan, const std::vector<SearchEvent>& events, const std::set<std::string>& models = {}) {
  const GeneSpace space = test_space();
  std::vector<std::unique_ptr<Proposer>> proposers;
  SearchParts parts{.space = &space};
  for (const std::string& name : plan.proposers) {
    proposers.push_back(TRY(make_proposer(name)));
    parts.proposers.push_back(proposers.back().get());
  }
  return reproduce_search(plan, events, std::move(parts), models, "archive");
}

TEST_F(Search, IsMadeAgainFromItsArchive) {
  SearchPlan plan = test_plan("random", 20, 4);
  plan.proposers = {"random", "evolution", "tpe"};
  TestJudge judge;
  Archive archive = new_archive("again", plan);
  ASSERT_TRUE(search_in(archive, plan, judge).ok());
  const std::vector<SearchEvent> events = archive.events().value();
  const auto whole = made_again(plan, events);
  ASSERT_TRUE(whole.ok()) << whole.error().message;
  EXPECT_TRUE(whole->ended);
  EXPECT_GE(whole->proposals, 40U);
  EXPECT_EQ(whole->proposals + 3, static_cast<std::size_t>(std::count_if(events.begin(), events.end(), [](const auto& e) { return e.individual; })));
  for (std::size_t kept = 0; kept < events.size(); ++kept) {
    const auto part = made_again(plan, {events.begin(), events.begin() + static_cast<std::ptrdiff_t>(kept)});
    ASSERT_TRUE(part.ok()) << kept << ": " << part.error().message;
    EXPECT_FALSE(part->ended) << kept;
  }
}

// Whose proposer has nothing left, and whose start is not scored: both have ended.
TEST_F(Search, EndsThatNoBudgetMakesAreMadeAgain) {
  SearchPlan plan = test_plan("random", 1000, 1);
  plan.start.genome["tile"] = 13;
  TestJudge judge;
  Archive failed = new_archive("failed", plan);
  ASSERT_FALSE(search_in(failed, plan, judge).ok());
  const auto made = made_again(plan, failed.events().value());
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_TRUE(made->ended);
  EXPECT_EQ(made->measurements, 1U);
}

// What was changed afterwards is found: a candidate, what was measured of a parent, a seed, what came of a proposal, events too many or too few.
TEST_F(Search, WhatTheSearchDoesNotMakeIsNamed) {
  const SearchPlan plan = test_plan("evolution", 20, 4);
  TestJudge judge;
  Archive archive = new_archive("changed", plan);
  ASSERT_TRUE(search_in(archive, plan, judge).ok());
  const std::vector<SearchEvent> events = archive.events().value();
  ASSERT_EQ(events.back().kind, MeasurementKind::kConfirm);
  using Events = std::vector<SearchEvent>;
  const auto message = [&](const std::function<void(Events&)>& change, const std::set<std::string>& models = {}) {
    Events changed = events;
    change(changed);
    const auto made = made_again(plan, changed, models);
    EXPECT_TRUE(made.ok() || made.error().code == ErrorCode::kCorrupt);
    return made.ok() ? "the same" : made.error().message;
  };
  const auto named = [](std::size_t at, const char* what = "") {
    return testing::AllOf(testing::HasSubstr("archive: event " + std::to_string(at) + ": the search makes"), testing::HasSubstr(what));
  };
  EXPECT_EQ(message([](Events&) {}), "the same");
  EXPECT_THAT(message([](Events& e) { e[3].individual->candidate.genome["tile"] = 77; }), named(3));
  EXPECT_THAT(message([](Events& e) { e[3].seed += 1; }), named(3));
  EXPECT_THAT(message([](Events& e) { e[3].individual->origin = "llm"; }), named(3));
  EXPECT_THAT(message([](Events& e) { e[3].individual->parents.push_back(0); }), named(3));
  EXPECT_THAT(message([](Events& e) { e[3].individual->rejected = "no"; }), named(3));
  EXPECT_THAT(message([](Events& e) { e[1].judgement.log_speed.assign(3, 9.0); }), testing::HasSubstr("the search makes"));
  EXPECT_THAT(message([](Events& e) { e.push_back(e.back()); }), named(events.size(), "makes 'nothing more'"));
  // A run that was cut short before the confirmations; of a language model it could have ended there.
  const auto first_confirmed = std::find_if(events.begin(), events.end(), [](const auto& e) { return e.kind == MeasurementKind::kConfirm; });
  const auto cut = first_confirmed - events.begin() - 1;
  const auto shorten = [cut](Events& e) { e.erase(e.begin() + cut); };
  EXPECT_THAT(message(shorten), named(static_cast<std::size_t>(cut)));
}

TEST_F(Search, EqualCandidatesClaimNothingInTwentyOfTwenty) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    TestJudge judge;
    judge.noise = 0.05;
    judge.gain_of = [](const Genome&) { return 0.0; };
    const SearchPlan plan = test_plan("evolution", 40, seed);
    EXPECT_FALSE(winner(plan, finished(plan, judge)).has_value()) << seed;
  }
}

TEST_F(Search, ALuckyOutlierIsMeasuredAgainAndNotConfirmed) {
  class Lucky : public TestJudge {
    Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
      Judgement out = TRY(TestJudge::judge(candidate, seed, stop));
      if (judged == 5 && out.outcome == Outcome::kScored) out.log_speed = {2.0, 2.001, 1.999};
      return out;
    }
  };
  Lucky judge;
  judge.noise = 0.05;
  judge.gain_of = [](const Genome&) { return 0.0; };
  const SearchPlan plan = test_plan("random", 30, 1);
  const SearchState state = finished(plan, judge);
  EXPECT_GE(state.runs.front().population.at(4).judgement.log_speed.size(), plan.settled);
  EXPECT_FALSE(winner(plan, state).has_value());
}

TEST_F(Search, ARealGainIsConfirmed) {
  TestJudge judge;
  const SearchPlan plan = test_plan("evolution", 40, 5);
  const SearchState state = finished(plan, judge);
  const auto best = winner(plan, state);
  ASSERT_TRUE(best.has_value());
  EXPECT_GT(gain_over_start(state.runs.front().population.at(best->number).candidate.genome), 0.5);
  EXPECT_LE(best->p, plan.alpha / 2);
}

// Whoever may look at a confirmation several times has as many chances to see a gain by luck.
TEST_F(Search, EveryLookAtAConfirmationCounts) {
  TestJudge judge;
  SearchPlan plan = test_plan("evolution", 40, 5);
  const SearchState state = finished(plan, judge);
  const std::vector<Finalist> once = finalists(plan, state);
  plan.confirm_looks = 3;
  const std::vector<Finalist> thrice = finalists(plan, state);
  ASSERT_EQ(once.size(), thrice.size());
  for (std::size_t i = 0; i < once.size(); ++i) EXPECT_NEAR(thrice[i].p, std::min(1.0, 3 * once[i].p), 1e-12);
  const auto again = search_plan_from_json(search_plan_to_json(plan), "plan");
  ASSERT_TRUE(again.ok()) << again.error().message;
  EXPECT_EQ(again->confirm_looks, 3);
}

// Where the best all changed a gene that costs exactness, the best that did not has its chance too, and no other.
TEST_F(Search, AFinalistKeepsTheStartsInexactGenes) {
  TestJudge judge;
  SearchPlan plan = test_plan("random", 60, 5);
  plan.finalists = 2;
  const SearchState state = finished(plan, judge);
  const Population& population = state.runs.front().population;
  const std::vector<Finalist> without = finalists(plan, state);
  ASSERT_EQ(without.size(), 2U);
  int cases = 0;
  for (const auto& [gene, start] : plan.start.genome) {
    plan.inexact_genes = {gene};
    const auto exact = [&](std::int64_t number) {
      const Genome& genome = population.at(number).candidate.genome;
      return genome.contains(gene) && genome.at(gene) == start;
    };
    const std::vector<Finalist> with = finalists(plan, state);
    if (exact(without[0].number) || exact(without[1].number)) {
      EXPECT_EQ(with.size(), 2U) << gene;
      continue;
    }
    if (with.size() == 2) continue;  // no gain without it
    ++cases;
    ASSERT_EQ(with.size(), 3U) << gene;
    EXPECT_TRUE(exact(with[2].number));
    for (const Individual* one : population.best()) {
      if (one->number == with[2].number) break;
      EXPECT_TRUE(one->number == 0 || !exact(one->number)) << gene;
    }
    EXPECT_EQ(search_plan_from_json(search_plan_to_json(plan), "test")->inexact_genes, plan.inexact_genes);
  }
  EXPECT_GT(cases, 0);
}

TEST_F(Search, ComparisonGivesEveryProposerTheSameBudget) {
  SearchPlan plan = test_plan("random", 12, 2);
  plan.proposers = {"random", "tpe"};
  plan.finalists = 1;
  TestJudge judge;
  const SearchState state = finished(plan, judge);
  for (const RunState& run : state.runs) EXPECT_EQ(run.evaluations, 12);
  EXPECT_LE(finalists(plan, state).size(), 2U);
}

TEST_F(Search, EndsByStagnationTargetAndExhaustion) {
  TestJudge judge;
  SearchPlan plan = test_plan("random", 0, 2);
  plan.stagnation = 10;
  SearchState state = finished(plan, judge);
  EXPECT_NE(state.runs.front().ended.find("no better candidate in 10"), std::string::npos) << state.runs.front().ended;
  plan = test_plan("random", 0, 2);
  plan.target = 1.5;
  state = finished(plan, judge);
  EXPECT_EQ(state.runs.front().ended, "the target is reached");
}

TEST_F(Search, AStartThatIsNotScoredIsAnError) {
  TestJudge judge;
  SearchPlan plan = test_plan("random", 5, 2);
  plan.start.genome["tile"] = 13;
  Archive archive = new_archive("bad", plan);
  const auto state = search_in(archive, plan, judge);
  ASSERT_FALSE(state.ok());
  EXPECT_EQ(state.error().code, ErrorCode::kDependency);
  EXPECT_NE(state.error().message.find("unlucky"), std::string::npos);
}

// Sources decide which genes a candidate has, and two texts may be one program.
TEST_F(Search, GenesAndProgramsAreThoseOfTheCandidate) {
  const SearchPlan plan = test_plan("random", 4, 2);
  const GeneSpace space = test_space();
  const auto proposer = make_proposer("random").value();
  TestJudge judge;
  SearchObserver silent;
  SearchParts parts{.space = &space, .proposers = {proposer.get()}, .judge = &judge, .observer = &silent};

  parts.program_digest = [](const Candidate&) -> Result<std::string> { return std::string("always this"); };
  Archive same = new_archive("same", plan);
  parts.archive = &same;
  SearchState state = run_search(plan, parts).value();
  EXPECT_EQ(judge.judged, 1) << "the start alone";
  EXPECT_EQ(state.runs.front().population.at(1).rejected, "duplicate: the same as individual 0");

  parts.program_digest = nullptr;
  parts.genes_of = [&](const Candidate& candidate) -> Result<GeneSpace> {
    GeneSpace narrow = space;
    if (candidate.genome != plan.start.genome) narrow.genes.pop_back();
    return narrow;
  };
  Archive narrow = new_archive("narrow", plan);
  parts.archive = &narrow;
  state = run_search(plan, parts).value();
  EXPECT_NE(state.runs.front().population.at(1).rejected.find("there is no such gene"), std::string::npos);
}

TEST_F(Search, StopIsCleanAndLosesNothing) {
  std::atomic<bool> stop{true};
  const SearchPlan plan = test_plan("evolution", 5, 2);
  Archive archive = new_archive("stopped", plan);
  TestJudge judge;
  const auto state = search_in(archive, plan, judge, &stop);
  ASSERT_FALSE(state.ok());
  EXPECT_EQ(state.error().code, ErrorCode::kInterrupted);
  stop = false;
  EXPECT_TRUE(search_in(archive, plan, judge, &stop).ok());
}

TEST(SearchPlanJson, BothWays) {
  SearchPlan plan = test_plan("tpe", 7, 9);
  plan.target = 1.25;
  plan.judge = {{"kind", "test"}};
  plan.space = space_to_json(test_space());
  const auto json = search_plan_to_json(plan);
  EXPECT_EQ(search_plan_to_json(search_plan_from_json(json, "x").value()), json);
  for (const char* field : {"seed", "proposers", "objective", "islands", "start", "judge", "settled"}) {
    auto broken = json;
    broken.erase(field);
    const auto result = search_plan_from_json(broken, "x");
    ASSERT_FALSE(result.ok()) << field;
    EXPECT_NE(result.error().message.find(field), std::string::npos);
  }
}

}  // namespace
}  // namespace evolora
