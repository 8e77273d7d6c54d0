// Which of several language models is asked next: a bandit whose state is the history of the search, so that it needs no state of its own.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "evolve/proposer.h"

namespace evolora {

struct ModelArm {
  std::string name;
  double weight = 1;  // > 0; the prior: without any success models are asked in proportion to their weights
};

struct ModelPlay {
  std::size_t arm = 0;
  double reward = 0;  // in [0, 1]
};

// One play for every individual of the history that one of the models proposed ("model" in its record). Reward: by how much its fitness is above that
// of its first parent, as a share of the largest such gain; 0 for failures. Outcomes that say nothing about the candidate (inconclusive, quarantined)
// are no plays.
std::vector<ModelPlay> model_plays(const std::vector<ModelArm>& arms, const std::vector<const Individual*>& history);

// The arm with the largest  mean reward + prior * sqrt(plays of all + 1) / (1 + plays)  (Rosin, "Multi-armed bandits with episode context", 2011: UCB
// with a predictor); the first of equals. arms is not empty.
std::size_t choose_model(const std::vector<ModelArm>& arms, const std::vector<ModelPlay>& plays);

}  // namespace evolora
