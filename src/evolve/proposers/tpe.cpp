// Per-gene densities of good and of other candidates; proposes where their ratio is largest.
#include <algorithm>
#include <cmath>

#include "evolve/gene_moves.h"
#include "evolve/proposers/fresh.h"
#include "evolve/proposers/proposers.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kStartup = 8;   // random candidates before there is anything to estimate
constexpr double kGoodShare = 0.2;    // of the scored
constexpr int kDraws = 24;            // as in the paper's successors; more is greedier
constexpr double kPriorWeight = 1.0;  // the prior counts as one observation

// Where a number lies on the scale its gene is searched on, as a share of its range.
double position(const Gene& gene, const Json& value) {
  const auto at = static_cast<double>(value.get<std::int64_t>());
  const auto low = static_cast<double>(gene.low);
  const auto high = static_cast<double>(gene.high);
  if (gene.high == gene.low) return 0;
  return gene.kind == GeneKind::kLogInteger ? std::log(at / low) / std::log(high / low) : (at - low) / (high - low);
}
Json value_at_position(const Gene& gene, double share) {
  const double p = std::clamp(share, 0.0, 1.0);
  const auto low = static_cast<double>(gene.low);
  const auto high = static_cast<double>(gene.high);
  return std::llround(gene.kind == GeneKind::kLogInteger ? low * std::pow(high / low, p) : low + (high - low) * p);
}

// One gene's density: kernels around what was observed, and the uniform prior. Words: counts, and the prior spread over all of them.
class Density {
 public:
  Density(const Gene& gene, const std::vector<const Individual*>& of) : gene_(&gene) {
    for (const Individual* each : of) {
      const auto value = each->candidate.genome.find(gene.name);
      if (value != each->candidate.genome.end()) seen_.push_back(value->second);
    }
    // Between Scott's rule for many observations and the whole range for few.
    width_ = std::max(0.05, 0.5 * std::pow(static_cast<double>(seen_.size()) + 1, -0.5));
  }

  Json draw(Random& random) const {
    const auto n = static_cast<double>(seen_.size());
    if (random.uniform() * (n + kPriorWeight) >= n) return random_value(*gene_, random);
    const Json& center = seen_[random.below(seen_.size())];
    if (!numeric()) return center;
    // A triangular kernel: the sum of two uniform numbers. Bounded, and needs no tail.
    return value_at_position(*gene_, position(*gene_, center) + width_ * (random.uniform() + random.uniform() - 1));
  }

  double log_density(const Json& value) const {
    const auto n = static_cast<double>(seen_.size());
    double sum = kPriorWeight * (numeric() ? 1.0 : 1.0 / words());
    for (const Json& each : seen_) {
      if (numeric()) {
        const double distance = std::abs(position(*gene_, value) - position(*gene_, each)) / width_;
        sum += std::max(0.0, 1 - distance) / width_;
      } else {
        sum += value == each ? 1 : 0;
      }
    }
    return std::log(sum / (n + kPriorWeight));
  }

 private:
  bool numeric() const { return gene_->kind == GeneKind::kInteger || gene_->kind == GeneKind::kLogInteger; }
  double words() const { return gene_->kind == GeneKind::kBoolean ? 2.0 : static_cast<double>(gene_->choices.size()); }

  const Gene* gene_;
  std::vector<Json> seen_;
  double width_ = 1;
};

struct Model {
  std::map<std::string, Density> good;
  std::map<std::string, Density> rest;

  double score(const Genome& genome) const {
    double sum = 0;
    for (const auto& [name, value] : genome) sum += good.at(name).log_density(value) - rest.at(name).log_density(value);
    return sum;
  }
};

Model model_of(const PopulationView& view, const std::vector<const Individual*>& scored) {
  const auto cut = std::max<std::size_t>(2, static_cast<std::size_t>(std::ceil(kGoodShare * static_cast<double>(scored.size()))));
  const std::vector<const Individual*> good(scored.begin(), scored.begin() + static_cast<std::ptrdiff_t>(std::min(cut, scored.size())));
  std::vector<const Individual*> rest(scored.begin() + static_cast<std::ptrdiff_t>(good.size()), scored.end());
  for (const Individual* each : view.history) {
    if (!each->fitness && each->judgement.outcome == Outcome::kRejected) rest.push_back(each);
  }
  Model model;
  for (const Gene& gene : view.space->genes) {
    model.good.emplace(gene.name, Density(gene, good));
    model.rest.emplace(gene.name, Density(gene, rest));
  }
  return model;
}

class TpeProposer : public Proposer {
 public:
  std::string name() const override { return "tpe"; }

  Result<Proposal> propose(const PopulationView& view, Random& random) override {
    const std::vector<const Individual*> scored = ranked(view);
    if (view.history.size() < kStartup || scored.size() < 2) {
      return fresh_proposal(view, random, nullptr, [&]() -> std::optional<Draft> {
        auto genome = random_genome(*view.space, random);
        if (!genome) return std::nullopt;
        return Draft{.genome = std::move(*genome), .origin = "random"};
      });
    }
    const Model model = model_of(view, scored);
    const std::set<std::string> seen = seen_digests(view);
    const Individual* best = scored.front();
    return fresh_proposal(
        view, random, best,
        [&]() -> std::optional<Draft> {
          std::optional<Genome> chosen;
          double chosen_score = 0;
          for (int i = 0; i < kDraws; ++i) {
            Genome drawn;  // of inactive genes too; the canonical form leaves them out
            for (const Gene& gene : view.space->genes) drawn[gene.name] = model.good.at(gene.name).draw(random);
            auto genome = view.space->canonical(drawn);
            if (!genome.ok() || seen.contains(Candidate{*genome, best->candidate.sources}.digest())) continue;
            const double score = model.score(*genome);
            if (chosen && score <= chosen_score) continue;
            chosen_score = score;
            chosen = std::move(*genome);
          }
          if (!chosen) return std::nullopt;
          return Draft{.genome = std::move(*chosen), .from = best, .origin = "tpe"};
        },
        8);
  }
};

}  // namespace

std::unique_ptr<Proposer> make_tpe_proposer() { return std::make_unique<TpeProposer>(); }

}  // namespace evolora
