// A model folder opened for use: frozen weights and tokenizer. Shared by train, eval and generate.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/file_system.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace evolora {

struct LoadedModel {
  ModelWeights weights;
  Tokenizer tokenizer;
};

// Errors: those of MlxFolder, ModelWeights and Tokenizer; a path that does not exist says how to get the model (fetch, convert).
Result<LoadedModel> load_model(FileSystem& files, const std::string& model);

// kBadData if an id has no row in the embedding: a tokenizer that belongs to another model.
Status check_token_ids(const LoadedModel& model, std::span<const std::int32_t> tokens);

// Parameters of the frozen model, quantized ones counted as the weights they stand for.
std::size_t parameter_count(const ModelWeights& weights);
// How the linears are stored: "4-bit group 32", "BF16".
std::string weight_format(const ModelWeights& weights);

// An adapter set without adapters: the base model for interfaces that want a set.
Result<AdapterSet> no_adapters(const ModelSpec& spec);

}  // namespace evolora
