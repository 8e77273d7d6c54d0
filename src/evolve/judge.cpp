// Judgements as JSON, both ways.
#include "evolve/judge.h"

#include <fmt/format.h>

#include <cmath>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr Outcome kOutcomes[] = {Outcome::kScored, Outcome::kRejected, Outcome::kInconclusive, Outcome::kQuarantined};

// One judgement while it is read.
struct JudgementReader {
  const Json& json;
  const std::string& source;

  Error expected(const char* field, const char* what) const {
    const auto found = json.find(field);
    return Error{ErrorCode::kBadData, fmt::format("{}: field '{}': expected {}, got {}", source, field, what,
                                                  found == json.end() ? "nothing" : std::string(found->type_name()))};
  }

  Result<std::string> text(const char* field) const {
    const auto found = json.find(field);
    if (found == json.end() || !found->is_string()) return expected(field, "a text");
    return found->get<std::string>();
  }

  Result<std::vector<double>> numbers(const char* field) const {
    const auto found = json.find(field);
    if (found == json.end() || !found->is_array()) return expected(field, "a list of numbers");
    std::vector<double> out;
    for (const Json& value : *found) {
      if (!value.is_number() || !std::isfinite(value.get<double>())) return expected(field, "a list of finite numbers");
      out.push_back(value.get<double>());
    }
    return out;
  }
};

}  // namespace

const char* word(Outcome outcome) {
  switch (outcome) {
    case Outcome::kScored: return "scored";
    case Outcome::kRejected: return "rejected";
    case Outcome::kInconclusive: return "inconclusive";
    case Outcome::kQuarantined: return "quarantined";
  }
  return "";
}

Json judgement_to_json(const Judgement& judgement) {
  return {{"outcome", word(judgement.outcome)},
          {"gate", judgement.gate},
          {"reason", judgement.reason},
          {"artifact", judgement.artifact},
          {"log_speed", judgement.log_speed},
          {"log_memory", judgement.log_memory},
          {"cell", judgement.cell},
          {"details", judgement.details},
          {"seconds", judgement.seconds}};
}

Result<Judgement> judgement_from_json(const Json& json, const std::string& source) {
  if (!json.is_object()) return Error{ErrorCode::kBadData, fmt::format("{}: expected a judgement as an object, got {}", source, json.type_name())};
  const JudgementReader reader{json, source};
  Judgement out;
  const std::string outcome = TRY(reader.text("outcome"));
  bool known = false;
  for (const Outcome each : kOutcomes) {
    if (outcome != word(each)) continue;
    out.outcome = each;
    known = true;
  }
  if (!known) return reader.expected("outcome", "scored, rejected, inconclusive or quarantined");
  out.gate = TRY(reader.text("gate"));
  out.reason = TRY(reader.text("reason"));
  out.artifact = TRY(reader.text("artifact"));
  out.log_speed = TRY(reader.numbers("log_speed"));
  out.log_memory = TRY(reader.numbers("log_memory"));
  const auto cell = json.find("cell");
  if (cell == json.end() || !cell->is_array()) return reader.expected("cell", "a list of whole numbers");
  for (const Json& bin : *cell) {
    if (!bin.is_number_integer() || bin < -1000000 || bin > 1000000) return reader.expected("cell", "a list of whole numbers");
    out.cell.push_back(bin.get<int>());
  }
  if (!json.contains("details") || !json["details"].is_object()) return reader.expected("details", "an object");
  out.details = json["details"];
  const auto seconds = json.find("seconds");
  if (seconds == json.end() || !seconds->is_number() || !(seconds->get<double>() >= 0)) return reader.expected("seconds", "a number, 0 or more");
  out.seconds = seconds->get<double>();
  return out;
}

}  // namespace evolora
