// The chains of linears that packs on MLX are measured on, by model, and as JSON in the plan of a search.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "evolve/judge/mlx/mlx_problem.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

// For each slot of a pack, chains of the linears of SmolLM2-135M in 4 bits: attention's width four times, and twice up and down the MLP. A chain,
// because what a linear keeps for its backward pass counts in a model by its number of layers. In fp32: MLX's products in 16 bits take CPUs many
// times as long and say nothing about devices that models in 16 bits are made for. rows: tokens.
std::vector<MlxProblemShape> mlx_shapes(const PackManifest& manifest, std::int64_t rank, std::int64_t rows);

// The same of the widths and weight format of a model; of one whose hidden size is below 512 those of SmolLM2-135M after all, because what a narrower
// linear keeps is lost among the pages that the C library holds on to. model: an MLX folder, of which config.json is read. Errors: those of reading
// it.
Result<std::vector<MlxProblemShape>> mlx_shapes_of_model(FileSystem& files, const fs::path& model, const PackManifest& manifest, std::int64_t rank,
                                                         std::int64_t rows);

nlohmann::ordered_json mlx_shapes_to_json(const std::vector<MlxProblemShape>& shapes);
// At least one. kBadData naming source.
Result<std::vector<MlxProblemShape>> mlx_shapes_from_json(const nlohmann::ordered_json& json, const std::string& source);

// At least what the largest call's inputs or outputs take in memory that is shared with a worker.
std::size_t most_call_bytes(const std::vector<MlxProblemShape>& shapes);

}  // namespace evolora
