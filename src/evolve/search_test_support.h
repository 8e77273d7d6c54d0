// For tests of the search: a small space, a judge that computes instead of training, and a search over both.
#pragma once

#include <cmath>
#include <memory>
#include <set>

#include "base/test_folder.h"
#include "evolve/proposers/proposers.h"
#include "evolve/search.h"

namespace evolora {

// As many as it takes to make random draws a poor search.
inline constexpr const char* kMoreGenes[] = {"p", "q", "r", "s", "t", "u"};

inline GeneSpace test_space() {
  GeneSpace space;
  space.genes = {{.name = "tile", .kind = GeneKind::kLogInteger, .low = 1, .high = 256},
                 {.name = "depth", .kind = GeneKind::kInteger, .low = 0, .high = 7},
                 {.name = "mode", .kind = GeneKind::kChoice, .choices = {"a", "b", "c"}},
                 {.name = "wide", .kind = GeneKind::kBoolean, .only_if = GeneCondition{"mode", {"c"}}}};
  for (const char* name : kMoreGenes) space.genes.push_back({.name = name, .kind = GeneKind::kInteger, .low = 0, .high = 7});
  return space;
}
inline Genome test_start() {
  Genome genome = {{"tile", 4}, {"depth", 2}, {"mode", "a"}};
  for (const char* name : kMoreGenes) genome[name] = 2;
  return genome;
}

// How good a genome is: 3.45 at best, at tile 32, the other numbers 5, mode c, wide.
inline double true_gain(const Genome& genome) {
  const double tile = std::log2(genome.at("tile").get<double>());
  const double depth = genome.at("depth").get<double>();
  double gain = 0.5 - 0.02 * (tile - 5) * (tile - 5) + 0.35 - 0.014 * (depth - 5) * (depth - 5);
  for (const char* name : kMoreGenes) {
    const double x = genome.at(name).get<double>() - 5;
    gain += 0.35 - 0.014 * x * x;
  }
  if (genome.at("mode") == "c") gain += genome.at("wide") == true ? 0.5 : 0.1;
  return gain;
}

// log speed-up over the start, without noise.
inline double gain_over_start(const Genome& genome) { return true_gain(genome) - true_gain(test_start()); }

// Three noisy pairs per judging, noise of standard deviation `noise` from the seed alone. gain_of says what is true. Fails tile 13 and counts what it
// is asked.
class TestJudge : public Judge {
 public:
  double noise = 0.01;
  double (*gain_of)(const Genome&) = gain_over_start;
  std::int64_t judged = 0;
  std::set<std::string> digests;
  std::int64_t duplicates = 0;

  Result<Judgement> judge(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    ++judged;
    if (!digests.insert(candidate.digest()).second) ++duplicates;
    return measure(candidate, seed, 3, stop);
  }
  Result<Judgement> measure_again(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    ++judged;
    return measure(candidate, seed, 3, stop);
  }
  Result<Judgement> confirm(const Candidate& candidate, std::uint64_t seed, const std::atomic<bool>* stop) override {
    return measure(candidate, seed, 10, stop);
  }

 private:
  Result<Judgement> measure(const Candidate& candidate, std::uint64_t seed, int pairs, const std::atomic<bool>* stop) {
    if (stop != nullptr && stop->load()) return Error{ErrorCode::kInterrupted, "stopped"};
    Judgement out;
    out.gate = "bench";
    out.seconds = 1;
    if (candidate.genome.at("tile") == 13) {
      out.reason = "unlucky";
      return out;
    }
    out.outcome = Outcome::kScored;
    Random random(seed, 7);
    for (int i = 0; i < pairs; ++i) {
      double sum = 0;  // of twelve uniform numbers: variance 1
      for (int k = 0; k < 12; ++k) sum += random.uniform();
      out.log_speed.push_back(gain_of(candidate.genome) + noise * (sum - 6));
      out.log_memory.push_back(0);
    }
    out.cell = {static_cast<int>(candidate.genome.at("depth").get<int>() / 2), candidate.genome.at("mode") == "c" ? 1 : 0};
    return out;
  }
};

inline SearchPlan test_plan(const std::string& proposer, std::int64_t evaluations, std::uint64_t seed) {
  SearchPlan plan;
  plan.seed = seed;
  plan.proposers = {proposer};
  plan.budget.evaluations = evaluations;
  plan.start.genome = test_space().canonical(test_start()).value();
  return plan;
}

// Runs a plan in a new archive, or goes on with one.
inline Result<SearchState> search_in(Archive& archive, const SearchPlan& plan, Judge& judge, const std::atomic<bool>* stop = nullptr) {
  const GeneSpace space = test_space();
  std::vector<std::unique_ptr<Proposer>> proposers;
  SearchObserver silent;
  SearchParts parts{.space = &space, .judge = &judge, .archive = &archive, .observer = &silent, .stop = stop};
  for (const std::string& name : plan.proposers) {
    proposers.push_back(TRY(make_proposer(name)));
    parts.proposers.push_back(proposers.back().get());
  }
  return run_search(plan, parts);
}

// What an archive holds, as one text, without how long anything took.
inline std::string content_of(const Archive& archive) {
  std::string out;
  const auto events = archive.events();
  CHECK(events.ok());
  for (const SearchEvent& event : *events) {
    out += std::to_string(event.run) + " " + word(event.kind) + " " + std::to_string(event.number) + " " + std::to_string(event.seed) + " " +
           judgement_to_json(event.judgement).dump();
    if (event.individual) out += " " + event.individual->digest + " " + event.individual->origin;
    out += "\n";
  }
  return out;
}

}  // namespace evolora
