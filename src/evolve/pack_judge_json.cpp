// Settings of the judge of packs as JSON, both ways. Packs have the shapes of their target.
#include <fmt/format.h>

#include "evolve/judge/mlx/mlx_problem_shapes.h"
#include "evolve/judge/problem_shapes.h"
#include "evolve/pack_judge.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Status read_shapes(const Json& json, const std::string& source, PackJudgeSettings& settings) {
  const Json shapes = json.value("shapes", Json()), held_out = json.value("held_out_shapes", Json());
  if (settings.manifest.target == PackTarget::kMlx) {
    settings.mlx_shapes = TRY(mlx_shapes_from_json(shapes, source + ": shapes"));
    settings.mlx_held_out_shapes = TRY(mlx_shapes_from_json(held_out, source + ": held_out_shapes"));
    return {};
  }
  settings.shapes = TRY(shapes_from_json(shapes, source + ": shapes"));
  settings.held_out_shapes = TRY(shapes_from_json(held_out, source + ": held_out_shapes"));
  return {};
}

}  // namespace

Json pack_judge_to_json(const PackJudgeSettings& settings) {
  const bool mlx = settings.manifest.target == PackTarget::kMlx;
  return {{"kind", "pack"},
          {"manifest", manifest_to_json(settings.manifest)},
          {"objective", word(settings.objective)},
          {"memory_may_grow", settings.limits.memory},
          {"time_may_grow", settings.limits.time},
          {"threads", settings.threads},
          {"pairs", settings.pairs},
          {"shapes", mlx ? mlx_shapes_to_json(settings.mlx_shapes) : shapes_to_json(settings.shapes)},
          {"held_out_shapes", mlx ? mlx_shapes_to_json(settings.mlx_held_out_shapes) : shapes_to_json(settings.held_out_shapes)},
          {"training", settings.training ? recipe_judge_to_json(*settings.training) : Json()}};
}

Result<PackJudgeSettings> pack_judge_from_json(const Json& json, const std::string& source) {
  const auto bad = [&](const char* field, const char* expected) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: field '{}': expected {}, got {}", source, field, expected, json.contains(field) ? json[field].dump() : "nothing")};
  };
  if (!json.is_object() || json.value("kind", Json()) != "pack") return Error{ErrorCode::kBadData, source + ": expected a judge of kind \"pack\""};
  PackJudgeSettings settings;
  settings.manifest = TRY(manifest_from_json(json.value("manifest", Json()), source + ": manifest"));
  const Json objective = json.value("objective", Json());
  const auto known = objective_from(objective.is_string() ? objective.get<std::string>() : "");
  if (!known.ok()) return bad("objective", "speed, memory or both");
  settings.objective = *known;
  for (const auto& [field, target] : {std::pair("memory_may_grow", &settings.limits.memory), {"time_may_grow", &settings.limits.time}}) {
    if (!json.contains(field) || !json[field].is_number() || !(json[field] >= 0 && json[field] <= 1e6)) return bad(field, "a number, 0 or more");
    *target = json[field].get<double>();
  }
  for (const auto& [field, target] : {std::pair("threads", &settings.threads), {"pairs", &settings.pairs}}) {
    if (!json.contains(field) || !json[field].is_number_integer() || json[field] < 1 || json[field] > 1000) return bad(field, "1 to 1000");
    *target = json[field].get<int>();
  }
  TRY(read_shapes(json, source, settings));
  if (!json.contains("training")) return bad("training", "an object or null");
  if (!json["training"].is_null()) settings.training = TRY(recipe_judge_from_json(json["training"], source + ": training"));
  return settings;
}

}  // namespace evolora
