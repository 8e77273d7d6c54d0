// Search plans as JSON, both ways.
#include "evolve/search_plan.h"

#include <fmt/format.h>

#include <cmath>

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

struct PlanReader {
  const Json& json;
  const std::string& source;

  Error expected(const char* field, const std::string& what) const {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: plan field '{}': expected {}, got {}", source, field, what, json.contains(field) ? json[field].dump() : "nothing")};
  }
  Result<std::int64_t> whole(const char* field, std::int64_t low, std::int64_t high) const {
    if (!json.contains(field) || !json[field].is_number_integer()) return expected(field, "a whole number");
    if (json[field].is_number_unsigned() && json[field].get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
      return expected(field, "a smaller number");
    }
    const auto value = json[field].get<std::int64_t>();
    if (value < low || value > high) return expected(field, fmt::format("a whole number from {} to {}", low, high));
    return value;
  }
  Result<double> number(const char* field, double low, double high) const {
    if (!json.contains(field) || !json[field].is_number()) return expected(field, "a number");
    const double value = json[field].get<double>();
    if (!(value >= low && value <= high)) return expected(field, fmt::format("a number from {} to {}", low, high));
    return value;
  }
  Result<std::vector<std::string>> names(const char* field) const {
    if (!json.contains(field) || !json[field].is_array()) return expected(field, "a list of names");
    std::vector<std::string> out;
    for (const Json& name : json[field]) {
      if (!name.is_string()) return expected(field, "a list of names");
      out.push_back(name.get<std::string>());
    }
    return out;
  }
};

constexpr std::int64_t kMost = std::int64_t{1} << 40;

}  // namespace

Json space_to_json(const GeneSpace& space) {
  static const char* const kKinds[] = {"choice", "integer", "log_integer", "boolean"};
  Json out = Json::array();
  for (const Gene& gene : space.genes) {
    Json json = {{"name", gene.name}, {"kind", kKinds[static_cast<std::size_t>(gene.kind)]}};
    if (gene.kind == GeneKind::kChoice) json["choices"] = gene.choices;
    if (gene.kind == GeneKind::kInteger || gene.kind == GeneKind::kLogInteger) {
      json["low"] = gene.low;
      json["high"] = gene.high;
    }
    if (gene.only_if) json["only_if"] = {{"gene", gene.only_if->gene}, {"values", gene.only_if->values}};
    out.push_back(json);
  }
  return out;
}

Json search_plan_to_json(const SearchPlan& plan) {
  Json out = {{"seed", plan.seed},
              {"proposers", plan.proposers},
              {"objective", word(plan.objective)},
              {"budget_evaluations", plan.budget.evaluations},
              {"budget_seconds", plan.budget.seconds},
              {"budget_tokens", plan.budget.tokens},
              {"budget_money", plan.budget.money},
              {"islands", plan.islands},
              {"migration_every", plan.migration_every},
              {"explore", plan.explore},
              {"stagnation", plan.stagnation},
              {"target", plan.target ? Json(*plan.target) : Json()},
              {"settled", plan.settled},
              {"finalists", plan.finalists},
              {"alpha", plan.alpha},
              {"min_effect", plan.min_effect},
              {"start", candidate_to_json(plan.start)},
              {"judge", plan.judge},
              {"space", plan.space},
              {"versions", plan.versions}};
  // Older plans stay as they were, to the byte.
  if (!plan.inexact_genes.empty()) out["inexact_genes"] = plan.inexact_genes;
  if (plan.confirm_looks != 1) out["confirm_looks"] = plan.confirm_looks;
  return out;
}

Result<SearchPlan> search_plan_from_json(const Json& json, const std::string& source) {
  if (!json.is_object()) return Error{ErrorCode::kBadData, fmt::format("{}: expected a plan as an object", source)};
  const PlanReader reader{json, source};
  SearchPlan plan;
  plan.seed = static_cast<std::uint64_t>(TRY(reader.whole("seed", 0, INT64_MAX)));
  plan.proposers = TRY(reader.names("proposers"));
  if (plan.proposers.empty()) return reader.expected("proposers", "a list of names");
  if (!json.contains("objective") || !json["objective"].is_string()) return reader.expected("objective", "speed, memory or both");
  const auto objective = objective_from(json["objective"].get<std::string>());
  if (!objective.ok()) return reader.expected("objective", "speed, memory or both");
  plan.objective = *objective;
  plan.budget.evaluations = TRY(reader.whole("budget_evaluations", 0, kMost));
  plan.budget.seconds = TRY(reader.number("budget_seconds", 0, 1e12));
  plan.budget.tokens = TRY(reader.whole("budget_tokens", 0, kMost));
  plan.budget.money = TRY(reader.number("budget_money", 0, 1e12));
  plan.islands = static_cast<int>(TRY(reader.whole("islands", 1, 1000)));
  plan.migration_every = static_cast<int>(TRY(reader.whole("migration_every", 1, 1000000)));
  plan.explore = TRY(reader.number("explore", 0, 1));
  plan.stagnation = TRY(reader.whole("stagnation", 0, kMost));
  if (json.contains("target") && !json["target"].is_null()) plan.target = TRY(reader.number("target", 0, 1e12));
  plan.settled = static_cast<std::size_t>(TRY(reader.whole("settled", 1, 1000)));
  plan.finalists = static_cast<std::size_t>(TRY(reader.whole("finalists", 1, 1000)));
  if (json.contains("inexact_genes")) plan.inexact_genes = TRY(reader.names("inexact_genes"));
  if (json.contains("confirm_looks")) plan.confirm_looks = static_cast<int>(TRY(reader.whole("confirm_looks", 1, 1000)));
  plan.alpha = TRY(reader.number("alpha", 0, 1));
  plan.min_effect = TRY(reader.number("min_effect", 0, 10));
  plan.start = TRY(candidate_from_json(json.value("start", Json()), source + ": plan field 'start'"));
  if (!json.contains("judge") || !json["judge"].is_object()) return reader.expected("judge", "an object");
  plan.judge = json["judge"];
  plan.space = json.value("space", Json::array());
  plan.versions = json.value("versions", Json::object());
  return plan;
}

}  // namespace evolora
