// How one genome becomes another: draws, neighbourhoods, mutation, crossover, enumeration. Every result is canonical and fits the space's constraint.
// Pure functions of their arguments; numbers from `random` are drawn in a fixed order.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "evolve/gene.h"
#include "evolve/random.h"

namespace evolora {

// Uniform over the gene's values; kLogInteger uniform in the logarithm.
nlohmann::ordered_json random_value(const Gene& gene, Random& random);
// A value near this one: choices and booleans another one, numbers a step whose size is drawn (logarithmic genes: a factor). May be the same number
// where rounding says so.
nlohmann::ordered_json nearby_value(const Gene& gene, const nlohmann::ordered_json& value, Random& random);
// What hill climbing tries from a value: every other choice; numbers +-1 and +-1/8 of the range; logarithmic numbers by factors 2 and 4/3, both ways.
std::vector<nlohmann::ordered_json> neighbour_values(const Gene& gene, const nlohmann::ordered_json& value);

// Nothing if `tries` draws in a row break the constraint.
std::optional<Genome> random_genome(const GeneSpace& space, Random& random, int tries = 1000);
// Changes one gene, with probability 1/3 a further one, and so on; genes that become active get random values. Nothing if `tries` results in a row
// break the constraint.
std::optional<Genome> mutate(const GeneSpace& space, const Genome& genome, Random& random, int tries = 100);
// Every gene from one of the two, where both have it; else from the one that has it.
std::optional<Genome> crossover(const GeneSpace& space, const Genome& a, const Genome& b, Random& random, int tries = 100);
// All genomes that differ in one gene by a neighbour value (genes that become active: their first neighbourly default, the lowest value).
std::vector<Genome> neighbours(const GeneSpace& space, const Genome& genome);

// Walks the whole space, every gene's values from a random one on, until `accept` takes a genome. Nothing: no genome is accepted, or none of the
// first `steps` that were looked at.
std::optional<Genome> find_genome(const GeneSpace& space, Random& random, const std::function<bool(const Genome&)>& accept,
                                  std::size_t steps = 1000000);

}  // namespace evolora
