// Where candidates come from. A proposer is a pure function of what it is shown and of the random numbers it is given, so that a search that is
// killed and resumed proposes the same to the bit. (A language model's answers are recorded and become part of what is shown.)
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "evolve/candidate.h"
#include "evolve/judge.h"
#include "evolve/random.h"

namespace evolora {

// A candidate that was proposed, with what became of it. Numbers count from 0 in the order of proposing; 0 is the baseline itself.
struct Individual {
  std::int64_t number = 0;
  int island = 0;
  Candidate candidate;
  std::string digest;  // of the candidate
  Judgement judgement;
  std::vector<std::int64_t> parents;
  std::string origin;  // operator: "start", "random", "mutate gate", "crossover", "tpe", "llm diff", ...
  // Lower confidence bound of the objective over all its measurements; nothing for what was not scored.
  std::optional<double> fitness;
  // Not empty: no candidate came of the proposal, and why. candidate is what the proposer had in hand, perhaps empty.
  std::string rejected;
  nlohmann::ordered_json record = nlohmann::ordered_json::object();  // of the proposal
};

// What a proposer may look at. Pointers are valid during the call.
struct PopulationView {
  const GeneSpace* space = nullptr;
  int island = 0;
  std::vector<const Individual*> history;  // all, in order
  std::vector<const Individual*> elites;   // of the island's grid, best first
  std::vector<const Individual*> best;     // of the whole search, best first
  const Individual* parent = nullptr;      // chosen by the search: exploit or explore; always a scored one
};

struct Proposal {
  Candidate candidate;
  std::vector<std::int64_t> parents;
  std::string origin;
  // Not empty: no candidate came of it, and why ("no_match: the search text does not occur"); counts as a rejected proposal at gate "parse".
  std::string rejected;
  nlohmann::ordered_json record =
      nlohmann::ordered_json::object();  // kept with the individual: of a language model, model name, tokens, cost, exchange number
};

class Proposer {
 public:
  virtual ~Proposer() = default;
  virtual std::string name() const = 0;
  // Errors end the search: kUsage (nothing left to propose), kDependency (no answer from the endpoint after all retries), kBudget-like ends as
  // kUnsupported.
  virtual Result<Proposal> propose(const PopulationView& view, Random& random) = 0;
};

}  // namespace evolora
