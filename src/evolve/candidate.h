// What a search proposes and judges: values of genes, and for kernel packs the source files.
#pragma once

#include <map>
#include <string>

#include "evolve/gene.h"

namespace evolora {

struct Candidate {
  Genome genome;                               // canonical
  std::map<std::string, std::string> sources;  // of a kernel pack: file name -> whole text; empty: a recipe alone

  // SHA-256 over the canonical JSON of both: two candidates with the same digest are the same.
  std::string digest() const;
  bool operator==(const Candidate&) const = default;
};

// What a proposer changed last, where one of the two follows the other.
enum class Changed { kGenome, kSources };

nlohmann::ordered_json candidate_to_json(const Candidate& candidate);
// kBadData naming source and field.
Result<Candidate> candidate_from_json(const nlohmann::ordered_json& json, const std::string& source);

}  // namespace evolora
