// The calls of lora_linear that a kernel is timed on: those of a model's linears, and as JSON in the plan of a search.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "evolve/judge/lora_problem.h"

namespace evolora {

// q|k|v, o, gate|up and down of the model's blocks, in the weight format that most of them have (the default of its "quantization"), with adapters of
// this rank and so many rows (tokens). model: an MLX folder, of which config.json is read. Errors: those of reading it.
Result<std::vector<ProblemShape>> shapes_of_model(FileSystem& files, const fs::path& model, std::int64_t rank, std::int64_t rows);

nlohmann::ordered_json shapes_to_json(const std::vector<ProblemShape>& shapes);
// At least one. kBadData naming source.
Result<std::vector<ProblemShape>> shapes_from_json(const nlohmann::ordered_json& json, const std::string& source);

// At least what the largest call's inputs or outputs take in memory that is shared with a worker.
std::size_t most_call_bytes(const std::vector<ProblemShape>& shapes);

}  // namespace evolora
