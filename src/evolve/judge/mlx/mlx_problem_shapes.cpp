// Chains from config.json, to JSON and back.
#include "evolve/judge/mlx/mlx_problem_shapes.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "evolve/judge/mlx/mlx_slots.h"
#include "evolve/judge/problem_shapes.h"
#include "evolve/judge/shape_reader.h"
#include "evolve/sandbox/mlx_worker_protocol.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::int64_t, 7> kBits = {0, 2, 3, 4, 5, 6, 8};

// Of the blocks of a model: what matters of one here.
struct Widths {
  std::int64_t hidden = 576, query = 576, intermediate = 1536;
  int bits = 4, group_size = 64;
};

std::vector<MlxProblemShape> chains(const PackManifest& manifest, const Widths& w, std::int64_t rank, std::int64_t rows) {
  std::vector<MlxProblemShape> shapes;
  for (const bool dora : served_kinds(manifest)) {
    for (const std::int64_t inner : {w.query, w.intermediate}) {
      MlxProblemShape shape{.dora = dora, .bits = w.bits, .group_size = w.group_size, .dtype = DType::kF32, .n = rows, .rank = rank};
      shape.widths = {w.hidden, inner, w.hidden, inner, w.hidden};
      shapes.push_back(std::move(shape));
    }
  }
  return shapes;
}

Result<MlxProblemShape> shape_from_json(const Json& json, const std::string& source) {
  const ShapeReader reader{json, source, "shape field"};
  MlxProblemShape shape;
  shape.bits = static_cast<int>(TRY(reader.whole("bits", 0)));
  if (std::find(kBits.begin(), kBits.end(), shape.bits) == kBits.end()) return reader.expected("bits", "0, 2, 3, 4, 5, 6 or 8");
  shape.group_size = static_cast<int>(TRY(reader.whole("group_size", 0)));
  if (shape.bits != 0 && shape.group_size != 32 && shape.group_size != 64 && shape.group_size != 128) {
    return reader.expected("group_size", "32, 64 or 128");
  }
  shape.n = TRY(reader.whole("n", 1));
  shape.rank = TRY(reader.whole("rank", 1));
  if (!json.contains("dora") || !json["dora"].is_boolean()) return reader.expected("dora", "true or false");
  shape.dora = json["dora"].get<bool>();
  const Json widths = json.value("widths", Json());
  if (!widths.is_array() || widths.size() < 2 || widths.size() > kMlxWorkerMaxLinears + 1)
    return reader.expected("widths", "a list of 2 to 9 widths");
  shape.widths.clear();
  for (const Json& width : widths) {
    if (!ShapeReader::in_range(width, 1)) return reader.expected("widths", "whole numbers");
    shape.widths.push_back(width.get<std::int64_t>());
    const bool is_in = shape.widths.size() < widths.size();
    if (is_in && shape.bits != 0 && shape.widths.back() % shape.group_size != 0) return reader.expected("widths", "whole groups");
  }
  return shape;
}

}  // namespace

std::vector<MlxProblemShape> mlx_shapes(const PackManifest& manifest, std::int64_t rank, std::int64_t rows) {
  return chains(manifest, Widths{}, rank, rows);
}

Result<std::vector<MlxProblemShape>> mlx_shapes_of_model(FileSystem& files, const fs::path& model, const PackManifest& manifest, std::int64_t rank,
                                                         std::int64_t rows) {
  const std::vector<ProblemShape> calls = TRY(shapes_of_model(files, model, rank, rows));
  const ProblemShape& query = calls[0];
  const ProblemShape& up = calls[2];
  // A dense weight in fp32 of half that width has 256 KiB, a few of the mappings that a peak consists of.
  constexpr std::int64_t kNarrowest = 512;
  if (query.in < kNarrowest) return mlx_shapes(manifest, rank, rows);
  return chains(manifest,
                {.hidden = query.in,
                 .query = query.projections.front().out,
                 .intermediate = up.projections.front().out,
                 .bits = query.bits,
                 .group_size = query.group_size},
                rank, rows);
}

Json mlx_shapes_to_json(const std::vector<MlxProblemShape>& shapes) {
  Json out = Json::array();
  for (const MlxProblemShape& shape : shapes) {
    out.push_back({{"dora", shape.dora},
                   {"bits", shape.bits},
                   {"group_size", shape.group_size},
                   {"n", shape.n},
                   {"widths", shape.widths},
                   {"rank", shape.rank}});
  }
  return out;
}

Result<std::vector<MlxProblemShape>> mlx_shapes_from_json(const Json& json, const std::string& source) {
  return read_shapes(json, source, shape_from_json);
}

std::size_t most_call_bytes(const std::vector<MlxProblemShape>& shapes) {
  constexpr std::int64_t kFloat = 4;
  constexpr std::int64_t kSlack = 1 << 20;  // alignment of each array
  std::int64_t most = 0;
  for (const MlxProblemShape& shape : shapes) {
    // Weights as if they were fp32 bounds codes with their scales and biases, too.
    std::int64_t floats = 2 * shape.n * (shape.widths.front() + shape.widths.back());
    for (std::size_t i = 0; i < shape.linear_count(); ++i) {
      const std::int64_t in = shape.widths[i], out = shape.widths[i + 1];
      floats += out * in + shape.rank * (in + out) + 2 * out;
    }
    most = std::max(most, floats * kFloat + kSlack);
  }
  return static_cast<std::size_t>(most);
}

}  // namespace evolora
