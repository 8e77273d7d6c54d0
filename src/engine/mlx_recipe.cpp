// Words of the "mlx" field of a recipe.
#include "engine/mlx_recipe.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>
#include <vector>

#include "base/suggest.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

template <typename Enum>
using Words = std::vector<std::pair<const char*, Enum>>;

const Words<MlxLoraLinear> kLoraLinear = {
    {"standard", MlxLoraLinear::kStandard}, {"optimized", MlxLoraLinear::kOptimized}, {"grouped", MlxLoraLinear::kGrouped}};
const Words<MlxSwiglu> kSwiglu = {{"standard", MlxSwiglu::kStandard}, {"optimized", MlxSwiglu::kOptimized}};
const Words<MlxHeadLoss> kHeadLoss = {{"standard", MlxHeadLoss::kStandard}, {"optimized", MlxHeadLoss::kOptimized}};
const Words<MlxStep> kStep = {{"device_default", MlxStep::kDeviceDefault}, {"eager", MlxStep::kEager}, {"compiled", MlxStep::kCompiled}};
const Words<MlxArithmetic> kArithmetic = {{"stored", MlxArithmetic::kStored}, {"fp32", MlxArithmetic::kFp32}};
const Words<MlxGraphs> kGraphs = {{"device_default", MlxGraphs::kDeviceDefault}, {"small", MlxGraphs::kSmall}};
const Words<bool> kBuffers = {{"cleared", false}, {"kept", true}};

template <typename Enum>
const char* word_of(const Words<Enum>& words, Enum value) {
  for (const auto& [name, entry] : words) {
    if (entry == value) return name;
  }
  return "";
}

template <typename Enum>
Status read(const Words<Enum>& words, const std::string& place, const Json& value, Enum& out) {
  std::vector<std::string> names;
  for (const auto& [name, entry] : words) {
    names.push_back(fmt::format("\"{}\"", name));
    if (value.is_string() && value.get<std::string>() == name) {
      out = entry;
      return {};
    }
  }
  return Error{ErrorCode::kUsage, fmt::format("{}: expected {}, got {}", place, fmt::join(names, " or "), value.dump())};
}

}  // namespace

const char* word(MlxLoraLinear value) { return value == MlxLoraLinear::kPack ? "pack" : word_of(kLoraLinear, value); }
const char* word(MlxSwiglu value) { return word_of(kSwiglu, value); }
const char* word(MlxHeadLoss value) { return word_of(kHeadLoss, value); }

MlxRecipe standard_mlx_recipe() { return {}; }

MlxRecipe optimized_mlx_recipe() {
  MlxRecipe recipe;
  recipe.lora_linear = MlxLoraLinear::kOptimized;
  recipe.swiglu = MlxSwiglu::kOptimized;
  recipe.keep_buffers = true;
  recipe.graphs = MlxGraphs::kSmall;
  return recipe;
}

Json mlx_recipe_to_json(const MlxRecipe& recipe) {
  return {{"lora_linear", word(recipe.lora_linear)},
          {"swiglu", word(recipe.swiglu)},
          {"head_loss", word(recipe.head_loss)},
          {"step", word_of(kStep, recipe.step)},
          {"arithmetic", word_of(kArithmetic, recipe.arithmetic)},
          {"buffers", word_of(kBuffers, recipe.keep_buffers)},
          {"graphs", word_of(kGraphs, recipe.graphs)}};
}

Result<MlxRecipe> mlx_recipe_from_json(const Json& json, const std::string& source) {
  if (json == "standard") return standard_mlx_recipe();
  if (json == "optimized") return optimized_mlx_recipe();
  if (!json.is_object()) {
    return Error{ErrorCode::kUsage, fmt::format("{}: expected \"standard\", \"optimized\" or an object of slots, got {}", source, json.dump())};
  }
  MlxRecipe recipe;
  for (const auto& [key, value] : json.items()) {
    const std::string place = source + "." + key;
    if (key == "lora_linear") {
      TRY(read(kLoraLinear, place, value, recipe.lora_linear));
    } else if (key == "swiglu") {
      TRY(read(kSwiglu, place, value, recipe.swiglu));
    } else if (key == "head_loss") {
      TRY(read(kHeadLoss, place, value, recipe.head_loss));
    } else if (key == "step") {
      TRY(read(kStep, place, value, recipe.step));
    } else if (key == "arithmetic") {
      TRY(read(kArithmetic, place, value, recipe.arithmetic));
    } else if (key == "buffers") {
      TRY(read(kBuffers, place, value, recipe.keep_buffers));
    } else if (key == "graphs") {
      TRY(read(kGraphs, place, value, recipe.graphs));
    } else {
      const std::vector<std::string> known = {"lora_linear", "swiglu", "head_loss", "step", "arithmetic", "buffers", "graphs"};
      return Error{ErrorCode::kUsage, fmt::format("{}: there is no such field{}", place, did_you_mean(key, known))};
    }
  }
  return recipe;
}

}  // namespace evolora
