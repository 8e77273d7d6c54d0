// What reading shapes from the plan of a search has in common for all targets.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

// Fields of one object. Errors: kBadData naming source and field; kind: what a field of it is called there.
struct ShapeReader {
  const nlohmann::ordered_json& json;
  const std::string& source;
  const char* kind = "field";

  static constexpr std::int64_t kMost = std::int64_t{1} << 24;  // rows, columns or ranks of anything that is measured
  static bool in_range(const nlohmann::ordered_json& value, std::int64_t low) { return value.is_number_integer() && value >= low && value <= kMost; }

  Error expected(const char* field, const char* what) const {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: {} '{}': expected {}, got {}", source, kind, field, what, json.contains(field) ? json[field].dump() : "nothing")};
  }
  Result<std::int64_t> whole(const char* field, std::int64_t low) const {
    if (!json.contains(field) || !in_range(json[field], low)) return expected(field, "a whole number");
    return json[field].get<std::int64_t>();
  }
};

// At least one. read: of one shape.
template <typename Shape>
Result<std::vector<Shape>> read_shapes(const nlohmann::ordered_json& json, const std::string& source,
                                       Result<Shape> (*read)(const nlohmann::ordered_json&, const std::string&)) {
  if (!json.is_array() || json.empty()) return Error{ErrorCode::kBadData, source + ": expected a list of shapes"};
  std::vector<Shape> shapes;
  for (const auto& each : json) shapes.push_back(TRY(read(each, source)));
  return shapes;
}

}  // namespace evolora
