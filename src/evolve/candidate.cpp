// Candidates as JSON, and their digests.
#include "evolve/candidate.h"

#include <fmt/format.h>

#include "base/sha256.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Error bad(const std::string& source, const std::string& what) { return Error{ErrorCode::kBadData, fmt::format("{}: {}", source, what)}; }

}  // namespace

std::string Candidate::digest() const { return sha256_hex(candidate_to_json(*this).dump(-1, ' ', false, Json::error_handler_t::replace)); }

Json candidate_to_json(const Candidate& candidate) {
  Json genome = Json::object();
  for (const auto& [name, value] : candidate.genome) genome[name] = value;
  Json sources = Json::object();
  for (const auto& [name, text] : candidate.sources) sources[name] = text;
  return {{"genome", genome}, {"sources", sources}};
}

Result<Candidate> candidate_from_json(const Json& json, const std::string& source) {
  if (!json.is_object()) return bad(source, fmt::format("expected a candidate as an object, got {}", json.type_name()));
  for (const char* field : {"genome", "sources"}) {
    if (!json.contains(field) || !json[field].is_object()) return bad(source, fmt::format("field '{}': expected an object", field));
  }
  Candidate candidate;
  for (const auto& [name, value] : json["genome"].items()) {
    if (!value.is_primitive() || value.is_null()) {
      return bad(source, fmt::format("field 'genome.{}': expected one value, got {}", name, value.type_name()));
    }
    candidate.genome[name] = value;
  }
  for (const auto& [name, text] : json["sources"].items()) {
    if (!text.is_string()) return bad(source, fmt::format("field 'sources.{}': expected the text of a file, got {}", name, text.type_name()));
    candidate.sources[name] = text.get<std::string>();
  }
  return candidate;
}

}  // namespace evolora
