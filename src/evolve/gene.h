// The typed genes of a search and a candidate's values of them. Recipe fields and the declared parameters of a kernel pack are both genes, so an
// offline proposer tunes either without knowing which.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

enum class GeneKind {
  kChoice,      // one of `choices`
  kInteger,     // whole number in [low, high], neighbours are +-1 and further
  kLogInteger,  // the same, on a logarithmic scale: neighbours are factors
  kBoolean,
};

// A gene that means something only while another has one of these values; otherwise it is left out of the canonical form.
struct GeneCondition {
  std::string gene;
  std::vector<nlohmann::ordered_json> values;
};

struct Gene {
  std::string name;  // recipe field ("head_rows_per_chunk") or parameter of a pack ("TILE_ROWS")
  GeneKind kind = GeneKind::kChoice;
  std::vector<nlohmann::ordered_json> choices;  // kChoice: scalars
  std::int64_t low = 0;
  std::int64_t high = 0;
  std::optional<GeneCondition> only_if;
};

// Value of every gene that is active, by name: scalars.
using Genome = std::map<std::string, nlohmann::ordered_json>;

struct GeneSpace {
  std::vector<Gene> genes;
  // Nothing if these values go together, else why not. May be empty.
  std::function<std::optional<std::string>(const Genome&)> constraint;

  const Gene* find(const std::string& name) const;
  // Inactive genes left out. kUsage naming gene, expected, got for an unknown or missing gene, a wrong type or a value out of range, and for what the
  // constraint says.
  Result<Genome> canonical(const Genome& genome) const;
};

}  // namespace evolora
