// Typed mutation and crossover of an island's best.
#include <algorithm>

#include "evolve/gene_moves.h"
#include "evolve/proposers/fresh.h"
#include "evolve/proposers/proposers.h"

namespace evolora {
namespace {

constexpr std::size_t kMu = 8;
constexpr double kCrossoverShare = 0.25;

class EvolutionProposer : public Proposer {
 public:
  std::string name() const override { return "evolution"; }

  Result<Proposal> propose(const PopulationView& view, Random& random) override {
    std::vector<const Individual*> pool(view.elites.begin(), view.elites.begin() + static_cast<std::ptrdiff_t>(std::min(kMu, view.elites.size())));
    const Individual* parent = view.parent;
    if (parent == nullptr && !pool.empty()) parent = pool[random.below(pool.size())];
    if (parent == nullptr) {
      return fresh_proposal(view, random, nullptr, [&]() -> std::optional<Draft> {
        auto genome = random_genome(*view.space, random);
        if (!genome) return std::nullopt;
        return Draft{.genome = std::move(*genome), .origin = "random"};
      });
    }
    return fresh_proposal(view, random, parent, [&]() -> std::optional<Draft> {
      Draft draft{.genome = parent->candidate.genome, .from = parent, .parents = {parent->number}, .origin = "mutation"};
      if (pool.size() >= 2 && random.uniform() < kCrossoverShare) {
        const Individual* other = pool[random.below(pool.size())];
        if (other->number != parent->number) {
          auto child = crossover(*view.space, parent->candidate.genome, other->candidate.genome, random);
          if (!child) return std::nullopt;
          draft.parents.push_back(other->number);
          draft.origin = "crossover";
          draft.genome = std::move(*child);
          if (random.below(2) == 0) return draft;
          draft.origin = "crossover and mutation";
        }
      }
      auto mutated = mutate(*view.space, draft.genome, random);
      if (!mutated) return std::nullopt;
      draft.genome = std::move(*mutated);
      return draft;
    });
  }
};

}  // namespace

std::unique_ptr<Proposer> make_evolution_proposer() { return std::make_unique<EvolutionProposer>(); }

}  // namespace evolora
