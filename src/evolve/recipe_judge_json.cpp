// Settings of the judge of recipes as JSON, both ways.
#include <fmt/format.h>

#include <cmath>

#include "evolve/recipe_judge.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

Json recipe_judge_to_json(const RecipeJudgeSettings& s) {
  return {{"kind", "recipe"},
          {"common", s.common},
          {"baseline", s.baseline},
          {"program", s.program},
          {"objective", word(s.objective)},
          {"pairs", s.pairs},
          {"again_pairs", s.again_pairs},
          {"confirm_pairs", s.confirm_pairs},
          {"max_confirm_pairs", s.max_confirm_pairs},
          {"memory_may_grow", s.limits.memory},
          {"time_may_grow", s.limits.time},
          {"loss_margin", s.loss_margin},
          {"progress_margin", s.progress_margin},
          {"timeout_seconds", s.timeout_seconds},
          {"model_sha256", s.model_sha256},
          {"data_sha256", s.data_sha256},
          {"versions", s.versions},
          {"machine", s.machine}};
}

Result<RecipeJudgeSettings> recipe_judge_from_json(const Json& json, const std::string& source) {
  const auto bad = [&](const char* field, const char* expected) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: field '{}': expected {}, got {}", source, field, expected, json.contains(field) ? json[field].dump() : "nothing")};
  };
  if (!json.is_object()) return Error{ErrorCode::kBadData, source + ": expected an object"};
  if (json.value("kind", Json()) != "recipe") return bad("kind", "\"recipe\"");
  RecipeJudgeSettings s;
  for (const auto& [field, target] :
       {std::pair("common", &s.common), {"baseline", &s.baseline}, {"versions", &s.versions}, {"machine", &s.machine}}) {
    if (!json.contains(field) || !json[field].is_object()) return bad(field, "an object");
    *target = json[field];
  }
  for (const auto& [field, target] : {std::pair("program", &s.program), {"model_sha256", &s.model_sha256}, {"data_sha256", &s.data_sha256}}) {
    if (!json.contains(field) || !json[field].is_string()) return bad(field, "a text");
    *target = json[field].get<std::string>();
  }
  for (const auto& [field, target] : {std::pair("pairs", &s.pairs), {"again_pairs", &s.again_pairs}, {"confirm_pairs", &s.confirm_pairs}}) {
    if (!json.contains(field) || !json[field].is_number_integer() || json[field] < 1 || json[field] > 1000) return bad(field, "1 to 1000");
    *target = json[field].get<std::size_t>();
  }
  s.max_confirm_pairs = s.confirm_pairs;  // what older plans mean
  if (const auto found = json.find("max_confirm_pairs"); found != json.end()) {
    if (!found->is_number_integer() || *found < s.confirm_pairs || *found > 1000) return bad("max_confirm_pairs", "confirm_pairs to 1000");
    s.max_confirm_pairs = found->get<std::size_t>();
  }
  for (const auto& [field, target] : {std::pair("memory_may_grow", &s.limits.memory),
                                      {"time_may_grow", &s.limits.time},
                                      {"loss_margin", &s.loss_margin},
                                      {"progress_margin", &s.progress_margin},
                                      {"timeout_seconds", &s.timeout_seconds}}) {
    if (!json.contains(field) || !json[field].is_number() || !(json[field].get<double>() >= 0) || !std::isfinite(json[field].get<double>())) {
      return bad(field, "a number, 0 or more");
    }
    *target = json[field].get<double>();
  }
  if (!json.contains("objective") || !json["objective"].is_string()) return bad("objective", "speed, memory or both");
  const auto objective = objective_from(json["objective"].get<std::string>());
  if (!objective.ok()) return bad("objective", "speed, memory or both");
  s.objective = *objective;
  return s;
}

}  // namespace evolora
