// The proposers that need no language model. Each is a pure function of view and random numbers and keeps no state of its own.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "evolve/proposer.h"

namespace evolora {

// Uniform draws: what every other search has to beat at the same budget.
std::unique_ptr<Proposer> make_random_proposer();

// Untried neighbours, in random order, of the best candidate since the last restart; when none is left, a restart from a random candidate. Each
// island climbs by itself.
std::unique_ptr<Proposer> make_hill_climbing_proposer();

// (mu + lambda): parents are the search's choice and the island's best `mu`; children by typed mutation, a quarter by crossover of two parents first.
std::unique_ptr<Proposer> make_evolution_proposer();

// Tree-structured Parzen estimator (Bergstra, Bardenet, Bengio & Kegl, NIPS 2011): per gene a density of the better fifth and one of the rest, both
// with the uniform prior mixed in; of several draws from the first the one with the largest ratio. Candidates that failed count to the rest.
std::unique_ptr<Proposer> make_tpe_proposer();

// "random", "hill", "evolution", "tpe". kUsage naming the known ones.
Result<std::unique_ptr<Proposer>> make_proposer(const std::string& name);
const std::vector<std::string>& proposer_names();

}  // namespace evolora
