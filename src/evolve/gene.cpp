// Checks of a genome against its space, and the canonical form in which equal candidates are equal.
#include "evolve/gene.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "base/suggest.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::string expectation(const Gene& gene) {
  switch (gene.kind) {
    case GeneKind::kChoice: {
      std::string words;
      for (const Json& choice : gene.choices) words += (words.empty() ? "" : " or ") + choice.dump();
      return words;
    }
    case GeneKind::kInteger:
    case GeneKind::kLogInteger: return fmt::format("a whole number from {} to {}", gene.low, gene.high);
    case GeneKind::kBoolean: return "true or false";
  }
  return "";
}

bool is_whole_between(const Json& value, std::int64_t low, std::int64_t high) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) return false;
  return low <= value.get<std::int64_t>() && value.get<std::int64_t>() <= high;
}

bool fits(const Gene& gene, const Json& value) {
  switch (gene.kind) {
    case GeneKind::kChoice: return std::find(gene.choices.begin(), gene.choices.end(), value) != gene.choices.end();
    case GeneKind::kInteger:
    case GeneKind::kLogInteger: return is_whole_between(value, gene.low, gene.high);
    case GeneKind::kBoolean: return value.is_boolean();
  }
  return false;
}

// A gene is active if the one it depends on is, with one of the wanted values. depth: a space whose conditions go in a circle is our own mistake.
bool is_active(const GeneSpace& space, const Gene& gene, const Genome& genome, std::size_t depth) {
  CHECK(depth <= space.genes.size());
  if (!gene.only_if) return true;
  const Gene* owner = space.find(gene.only_if->gene);
  CHECK(owner != nullptr);
  if (!is_active(space, *owner, genome, depth + 1)) return false;
  const auto value = genome.find(owner->name);
  const std::vector<Json>& wanted = gene.only_if->values;
  return value != genome.end() && std::find(wanted.begin(), wanted.end(), value->second) != wanted.end();
}

}  // namespace

const Gene* GeneSpace::find(const std::string& name) const {
  const auto found = std::find_if(genes.begin(), genes.end(), [&](const Gene& gene) { return gene.name == name; });
  return found == genes.end() ? nullptr : &*found;
}

Result<Genome> GeneSpace::canonical(const Genome& genome) const {
  for (const auto& [name, value] : genome) {
    if (find(name) != nullptr) continue;
    std::vector<std::string> names;
    for (const Gene& gene : genes) names.push_back(gene.name);
    return Error{ErrorCode::kUsage, fmt::format("gene '{}': there is no such gene{}", name, did_you_mean(name, names))};
  }
  Genome out;
  for (const Gene& gene : genes) {
    if (!is_active(*this, gene, genome, 0)) continue;
    const auto value = genome.find(gene.name);
    if (value == genome.end()) return Error{ErrorCode::kUsage, fmt::format("gene '{}': expected {}, got nothing", gene.name, expectation(gene))};
    if (!fits(gene, value->second)) {
      return Error{ErrorCode::kUsage, fmt::format("gene '{}': expected {}, got {}", gene.name, expectation(gene), value->second.dump())};
    }
    const bool whole = gene.kind == GeneKind::kInteger || gene.kind == GeneKind::kLogInteger;
    out[gene.name] = whole ? Json(value->second.get<std::int64_t>()) : value->second;
  }
  if (constraint) {
    if (const auto why = constraint(out)) return Error{ErrorCode::kUsage, "these genes do not go together: " + *why};
  }
  return out;
}

}  // namespace evolora
