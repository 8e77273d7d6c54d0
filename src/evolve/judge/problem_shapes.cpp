// Shapes from config.json, to JSON and back.
#include "evolve/judge/problem_shapes.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "evolve/judge/shape_reader.h"
#include "formats/quantization_config.h"
#include "model/spec.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

DType weight_type(const Json& config) {
  const Json word = config.value("torch_dtype", Json());
  return word == "bfloat16" ? DType::kBF16 : word == "float32" ? DType::kF32 : DType::kF16;
}

Result<ProblemShape> shape_from_json(const Json& json, const std::string& source) {
  const ShapeReader reader{json, source};
  ProblemShape shape;
  shape.bits = static_cast<int>(TRY(reader.whole("bits", 0)));
  shape.group_size = static_cast<int>(TRY(reader.whole("group_size", 0)));
  const auto dtype = TRY(reader.whole("dtype", 0));
  if (dtype > static_cast<std::int64_t>(DType::kBF16)) return reader.expected("dtype", "0 (F32), 1 (F16) or 2 (BF16)");
  shape.dtype = static_cast<DType>(dtype);
  shape.n = TRY(reader.whole("n", 1));
  shape.in = TRY(reader.whole("in", 1));
  if (!json.contains("projections") || !json["projections"].is_array() || json["projections"].empty() || json["projections"].size() > 8) {
    return reader.expected("projections", "a list of 1 to 8");
  }
  for (const Json& each : json["projections"]) {
    if (!each.is_object()) return reader.expected("projections", "a list of objects");
    const ShapeReader inside{each, source};
    shape.projections.push_back(
        {.out = TRY(inside.whole("out", 1)), .rank = TRY(inside.whole("rank", 0)), .bias = each.value("bias", Json()) == true});
  }
  return shape;
}

}  // namespace

Result<std::vector<ProblemShape>> shapes_of_model(FileSystem& files, const fs::path& model, std::int64_t rank, std::int64_t rows) {
  const fs::path path = model / "config.json";
  const Json config = TRY(read_json_object(files, path));
  const ModelSpec spec = TRY(parse_model_spec(config, path.string()));
  const QuantizationConfig quantization = TRY(parse_quantization_config(config, path.string()));
  ProblemShape base{.dtype = weight_type(config), .n = rows, .in = spec.hidden_size};
  if (quantization.default_quantization) {
    base.bits = static_cast<int>(quantization.default_quantization->bits);
    base.group_size = static_cast<int>(quantization.default_quantization->group_size);
  }
  const auto projection = [&](std::int64_t out, bool bias) { return ProblemProjection{.out = out, .rank = rank, .bias = bias}; };
  std::vector<ProblemShape> shapes(4, base);
  const bool qkv = spec.attention_qkv_bias;
  shapes[0].projections = {projection(spec.query_width(), qkv), projection(spec.kv_width(), qkv), projection(spec.kv_width(), qkv)};
  shapes[1].in = spec.query_width();
  shapes[1].projections = {projection(spec.hidden_size, spec.attention_output_bias)};
  shapes[2].projections = {projection(spec.intermediate_size, spec.mlp_bias), projection(spec.intermediate_size, spec.mlp_bias)};
  shapes[3].in = spec.intermediate_size;
  shapes[3].projections = {projection(spec.hidden_size, spec.mlp_bias)};
  return shapes;
}

Json shapes_to_json(const std::vector<ProblemShape>& shapes) {
  Json out = Json::array();
  for (const ProblemShape& shape : shapes) {
    Json json = {{"bits", shape.bits}, {"group_size", shape.group_size}, {"dtype", static_cast<int>(shape.dtype)}, {"n", shape.n}, {"in", shape.in}};
    json["projections"] = Json::array();
    for (const ProblemProjection& p : shape.projections) json["projections"].push_back({{"out", p.out}, {"rank", p.rank}, {"bias", p.bias}});
    out.push_back(std::move(json));
  }
  return out;
}

Result<std::vector<ProblemShape>> shapes_from_json(const Json& json, const std::string& source) { return read_shapes(json, source, shape_from_json); }

std::size_t most_call_bytes(const std::vector<ProblemShape>& shapes) {
  constexpr std::int64_t kFloat = 4;
  constexpr std::int64_t kSlack = 4 << 20;  // fences and canaries around each array
  std::int64_t most = 0;
  for (const ProblemShape& shape : shapes) {
    // Weights as if they were fp32 bounds codes with their scales and biases, too.
    std::int64_t floats = 2 * shape.n * shape.in;
    for (const ProblemProjection& p : shape.projections) {
      floats += p.out * shape.in + 2 * shape.n * (p.out + p.rank) + 2 * p.rank * (p.out + shape.in) + p.out;
    }
    most = std::max(most, floats * kFloat + kSlack);
  }
  return static_cast<std::size_t>(most);
}

}  // namespace evolora
