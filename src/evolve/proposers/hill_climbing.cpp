// Steepest known ascent with restarts. What was tried is read from the history, so there is no state to lose.
#include <algorithm>

#include "evolve/gene_moves.h"
#include "evolve/proposers/fresh.h"
#include "evolve/proposers/proposers.h"

namespace evolora {
namespace {

constexpr const char* kRestart = "restart";

// The best since the island's last restart; null if nothing of it was scored. The start belongs to every island.
const Individual* incumbent(const PopulationView& view) {
  const Individual* best = nullptr;
  for (const Individual* each : view.history) {
    if (each->island != view.island && each->number != 0) continue;
    if (each->origin == kRestart) best = nullptr;
    if (each->fitness && (best == nullptr || *each->fitness > *best->fitness)) best = each;
  }
  return best;
}

class HillClimbingProposer : public Proposer {
 public:
  std::string name() const override { return "hill"; }

  Result<Proposal> propose(const PopulationView& view, Random& random) override {
    const Individual* from = incumbent(view);
    if (from != nullptr) {
      const std::set<std::string> seen = seen_digests(view);
      std::vector<Candidate> untried;
      for (Genome& genome : neighbours(*view.space, from->candidate.genome)) {
        Candidate candidate{std::move(genome), from->candidate.sources};
        if (!seen.contains(candidate.digest())) untried.push_back(std::move(candidate));
      }
      if (!untried.empty()) {
        return Proposal{.candidate = untried[random.below(untried.size())], .parents = {from->number}, .origin = "neighbour"};
      }
    }
    return fresh_proposal(view, random, nullptr, [&]() -> std::optional<Draft> {
      auto genome = random_genome(*view.space, random);
      if (!genome) return std::nullopt;
      return Draft{.genome = std::move(*genome), .origin = kRestart};
    });
  }
};

}  // namespace

std::unique_ptr<Proposer> make_hill_climbing_proposer() { return std::make_unique<HillClimbingProposer>(); }

}  // namespace evolora
