// Draws and steps over typed genes.
#include "evolve/gene_moves.h"

#include <algorithm>
#include <cmath>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

bool is_number(const Gene& gene) { return gene.kind == GeneKind::kInteger || gene.kind == GeneKind::kLogInteger; }

std::int64_t clamped(const Gene& gene, double value) {
  const double inside = std::clamp(value, static_cast<double>(gene.low), static_cast<double>(gene.high));
  return std::llround(inside);
}

// Values in a fixed order; of numbers by index.
std::uint64_t value_count(const Gene& gene) {
  if (gene.kind == GeneKind::kChoice) return gene.choices.size();
  if (gene.kind == GeneKind::kBoolean) return 2;
  return static_cast<std::uint64_t>(gene.high - gene.low) + 1;
}
Json value_at(const Gene& gene, std::uint64_t index) {
  if (gene.kind == GeneKind::kChoice) return gene.choices[index];
  if (gene.kind == GeneKind::kBoolean) return index == 1;
  return gene.low + static_cast<std::int64_t>(index);
}

std::vector<Json> others(const std::vector<Json>& all, const Json& value) {
  std::vector<Json> out;
  for (const Json& each : all) {
    if (each != value) out.push_back(each);
  }
  return out;
}

std::vector<Json> alternatives(const Gene& gene, const Json& value) {
  return gene.kind == GeneKind::kBoolean ? std::vector<Json>{!value.get<bool>()} : others(gene.choices, value);
}

// Standard normal by Box and Muller (1958); 1 - u is never 0.
double normal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
  return radius * std::cos(2 * 3.14159265358979323846 * random.uniform());
}

// Is the gene active, as far as the genes before it say? One that depends on a later gene counts as active.
bool active_so_far(const GeneSpace& space, const Gene& gene, const Genome& genome) {
  if (!gene.only_if) return true;
  const auto owner = genome.find(gene.only_if->gene);
  if (owner != genome.end()) {
    return std::find(gene.only_if->values.begin(), gene.only_if->values.end(), owner->second) != gene.only_if->values.end();
  }
  for (const Gene& each : space.genes) {
    if (&each == &gene) return false;  // the owner came before and was left out
    if (each.name == gene.only_if->gene) return false;
  }
  return true;
}

// Fills active genes that have no value.
Genome completed(const GeneSpace& space, Genome genome, const std::function<Json(const Gene&)>& value) {
  for (const Gene& gene : space.genes) {
    if (!genome.contains(gene.name) && active_so_far(space, gene, genome)) genome[gene.name] = value(gene);
  }
  return genome;
}

}  // namespace

Json random_value(const Gene& gene, Random& random) {
  if (gene.kind != GeneKind::kLogInteger) return value_at(gene, random.below(value_count(gene)));
  CHECK(gene.low >= 1);
  // Half a step beyond both ends, so that they are not drawn half as often as their neighbours.
  const double low = std::log(static_cast<double>(gene.low) - 0.5);
  const double high = std::log(static_cast<double>(gene.high) + 0.5);
  return clamped(gene, std::exp(low + (high - low) * random.uniform()));
}

Json nearby_value(const Gene& gene, const Json& value, Random& random) {
  if (!is_number(gene)) {
    const std::vector<Json> rest = alternatives(gene, value);
    return rest.empty() ? value : rest[random.below(rest.size())];
  }
  const auto now = static_cast<double>(value.get<std::int64_t>());
  const double step = normal(random);
  if (gene.kind == GeneKind::kLogInteger) {
    const double factor = std::exp(0.7 * step);  // one sigma: a factor of 2
    const double next = now * factor;
    return clamped(gene, std::abs(next - now) < 1 ? now + (step < 0 ? -1 : 1) : next);
  }
  const double sigma = std::max(1.0, static_cast<double>(gene.high - gene.low) / 8);
  const double next = now + sigma * step;
  return clamped(gene, std::abs(next - now) < 1 ? now + (step < 0 ? -1 : 1) : next);
}

std::vector<Json> neighbour_values(const Gene& gene, const Json& value) {
  if (!is_number(gene)) return alternatives(gene, value);
  const auto now = static_cast<double>(value.get<std::int64_t>());
  std::vector<double> steps;
  if (gene.kind == GeneKind::kLogInteger) {
    steps = {now * 2, now / 2, now * 4 / 3, now * 3 / 4};
  } else {
    const double wide = std::max(1.0, static_cast<double>(gene.high - gene.low) / 8);
    steps = {now + 1, now - 1, now + wide, now - wide};
  }
  std::vector<Json> out;
  for (const double step : steps) {
    const Json next = clamped(gene, step);
    if (next != value && std::find(out.begin(), out.end(), next) == out.end()) out.push_back(next);
  }
  return out;
}

std::optional<Genome> random_genome(const GeneSpace& space, Random& random, int tries) {
  for (int i = 0; i < tries; ++i) {
    const auto genome = space.canonical(completed(space, {}, [&](const Gene& gene) { return random_value(gene, random); }));
    if (genome.ok()) return *genome;
  }
  return std::nullopt;
}

std::optional<Genome> mutate(const GeneSpace& space, const Genome& genome, Random& random, int tries) {
  std::vector<const Gene*> present;
  for (const Gene& gene : space.genes) {
    if (genome.contains(gene.name)) present.push_back(&gene);
  }
  if (present.empty()) return std::nullopt;
  for (int i = 0; i < tries; ++i) {
    Genome next = genome;
    do {
      const Gene& gene = *present[random.below(present.size())];
      next[gene.name] = nearby_value(gene, next[gene.name], random);
    } while (random.uniform() < 1.0 / 3);
    const auto canonical = space.canonical(completed(space, next, [&](const Gene& gene) { return random_value(gene, random); }));
    if (canonical.ok() && *canonical != genome) return *canonical;
  }
  return std::nullopt;
}

std::optional<Genome> crossover(const GeneSpace& space, const Genome& a, const Genome& b, Random& random, int tries) {
  for (int i = 0; i < tries; ++i) {
    Genome next;
    for (const Gene& gene : space.genes) {
      const auto in_a = a.find(gene.name);
      const auto in_b = b.find(gene.name);
      const bool first = random.below(2) == 0;
      if (in_a != a.end() && (first || in_b == b.end())) {
        next[gene.name] = in_a->second;
      } else if (in_b != b.end()) {
        next[gene.name] = in_b->second;
      }
    }
    const auto canonical = space.canonical(completed(space, next, [&](const Gene& gene) { return random_value(gene, random); }));
    if (canonical.ok()) return *canonical;
  }
  return std::nullopt;
}

std::vector<Genome> neighbours(const GeneSpace& space, const Genome& genome) {
  std::vector<Genome> out;
  for (const Gene& gene : space.genes) {
    const auto now = genome.find(gene.name);
    if (now == genome.end()) continue;
    for (const Json& value : neighbour_values(gene, now->second)) {
      Genome next = genome;
      next[gene.name] = value;
      const auto canonical = space.canonical(completed(space, next, [](const Gene& each) { return value_at(each, 0); }));
      if (canonical.ok()) out.push_back(*canonical);
    }
  }
  return out;
}

std::optional<Genome> find_genome(const GeneSpace& space, Random& random, const std::function<bool(const Genome&)>& accept, std::size_t steps) {
  std::vector<std::uint64_t> start;
  start.reserve(space.genes.size());
  for (const Gene& gene : space.genes) start.push_back(random.below(value_count(gene)));
  std::optional<Genome> found;
  // Depth first; true: stop looking.
  const std::function<bool(std::size_t, const Genome&)> visit = [&](std::size_t at, const Genome& genome) {
    if (at == space.genes.size()) {
      if (steps-- == 0) return true;
      const auto canonical = space.canonical(genome);
      if (!canonical.ok() || !accept(*canonical)) return false;
      found = *canonical;
      return true;
    }
    const Gene& gene = space.genes[at];
    if (!active_so_far(space, gene, genome)) return visit(at + 1, genome);
    const std::uint64_t count = value_count(gene);
    for (std::uint64_t i = 0; i < count; ++i) {
      Genome next = genome;
      next[gene.name] = value_at(gene, (start[at] + i) % count);
      if (visit(at + 1, next)) return true;
    }
    return false;
  };
  visit(0, {});
  return found;
}

}  // namespace evolora
