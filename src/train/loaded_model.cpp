// Opens model folders and counts what is in them.
#include "train/loaded_model.h"

#include <fmt/format.h>

#include <algorithm>

namespace evolora {
namespace {

// "organisation/name": what people paste from a hub's page.
bool looks_like_hub_id(const std::string& model) {
  const bool one_slash = std::count(model.begin(), model.end(), '/') == 1;
  return one_slash && model.front() != '/' && model.front() != '.' && model.front() != '~' && model.back() != '/';
}

std::size_t elements(const WeightView& weight) { return static_cast<std::size_t>(weight.out) * static_cast<std::size_t>(weight.in); }

}  // namespace

Result<LoadedModel> load_model(FileSystem& files, const std::string& model) {
  if (model.empty()) return Error{ErrorCode::kUsage, "no model given: name a model folder with --model"};
  if (!files.exists(model)) {
    std::string message = fmt::format("model folder '{}' does not exist", model);
    if (looks_like_hub_id(model)) {
      message += fmt::format(
          "; it looks like a hub name: download its files, then 'evolora convert --hf-path FOLDER --mlx-path OUT' "
          "('evolora fetch smollm2-135m' gets a small model to start with)");
    } else {
      message += "; 'evolora fetch' gets a known model, 'evolora convert' makes a folder from GGUF or Hugging Face files";
    }
    return Error{ErrorCode::kNotFound, message};
  }
  if (!files.is_directory(model)) {
    return Error{ErrorCode::kUsage,
                 fmt::format("model '{}' is a file, expected a folder; for a GGUF file: evolora convert {} --mlx-path OUT", model, model)};
  }
  MlxFolder folder = TRY(MlxFolder::open(files, model));
  ModelWeights weights = TRY(ModelWeights::load(std::move(folder)));
  Tokenizer tokenizer = TRY(Tokenizer::load(files, model));
  return LoadedModel{std::move(weights), std::move(tokenizer)};
}

Status check_token_ids(const LoadedModel& model, std::span<const std::int32_t> tokens) {
  const std::int64_t rows = model.weights.spec().vocab_size;
  for (const std::int32_t token : tokens) {
    if (token >= 0 && token < rows) continue;
    return Error{ErrorCode::kBadData,
                 fmt::format("token id {} is outside the model's vocabulary of {}: the tokenizer files belong to another model", token, rows)};
  }
  return {};
}

std::size_t parameter_count(const ModelWeights& weights) {
  const ModelSpec& spec = weights.spec();
  const auto hidden = static_cast<std::size_t>(spec.hidden_size);
  std::size_t count = elements(weights.embedding()) + hidden;
  if (!spec.tie_word_embeddings) count += elements(weights.head());
  for (std::int64_t i = 0; i < spec.num_layers; ++i) {
    count += 2 * hidden;
    for (const LinearWeights& linear : weights.layer(i).linears) {
      count += elements(linear.weight) + (linear.bias != nullptr ? static_cast<std::size_t>(linear.weight.out) : 0);
    }
  }
  return count;
}

std::string weight_format(const ModelWeights& weights) {
  const WeightView& weight = weights.layer(0)[Projection::kQ].weight;
  if (weight.quantized()) return fmt::format("{}-bit group {}", weight.bits, weight.group_size);
  return std::string(dtype_name(weight.dtype));
}

Result<AdapterSet> no_adapters(const ModelSpec& spec) {
  AdapterOptions options;
  options.num_layers = 0;
  options.keys = std::vector<std::string>();
  return AdapterSet::create(spec, options);
}

}  // namespace evolora
