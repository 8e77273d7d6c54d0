// Proposers by name, and the simplest of them.
#include "evolve/proposers/proposers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/suggest.h"
#include "evolve/gene_moves.h"
#include "evolve/proposers/fresh.h"

namespace evolora {
namespace {

class RandomProposer : public Proposer {
 public:
  std::string name() const override { return "random"; }
  Result<Proposal> propose(const PopulationView& view, Random& random) override {
    return fresh_proposal(view, random, nullptr, [&]() -> std::optional<Draft> {
      auto genome = random_genome(*view.space, random);
      if (!genome) return std::nullopt;
      return Draft{.genome = std::move(*genome), .origin = "random"};
    });
  }
};

}  // namespace

std::unique_ptr<Proposer> make_random_proposer() { return std::make_unique<RandomProposer>(); }

const std::vector<std::string>& proposer_names() {
  static const std::vector<std::string> names = {"evolution", "random", "hill", "tpe"};
  return names;
}

Result<std::unique_ptr<Proposer>> make_proposer(const std::string& name) {
  if (name == "evolution") return make_evolution_proposer();
  if (name == "random") return make_random_proposer();
  if (name == "hill") return make_hill_climbing_proposer();
  if (name == "tpe") return make_tpe_proposer();
  return Error{ErrorCode::kUsage,
               fmt::format("unknown proposer '{}'{} (known: {})", name, did_you_mean(name, proposer_names()), fmt::join(proposer_names(), ", "))};
}

}  // namespace evolora
