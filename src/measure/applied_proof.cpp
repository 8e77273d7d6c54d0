// Comparing the record with the expectation, from the coarse to the fine.
#include "measure/applied_proof.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/json.h"
#include "engine/mlx_recipe.h"
#include "engine/recipe_json.h"
#include "kernels/pack/pack_compiler.h"
#include "kernels/slots.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

std::int64_t whole_or_minus_one(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
}

const char* set_name(KernelSet set) { return set == KernelSet::kReference ? "reference" : "cpu"; }

// Compiled here, before the first trial: the processor time and the memory of a compiler that a trial starts would count as the trial's.
Result<BuiltPack> built(FileSystem& files, const std::string& folder) {
  const auto compiler = direct_pack_compiler();
  return build_pack(files, *compiler, folder);
}

// The slots' sets as flags and recipe say; without a word about kernels it is the cpu set.
Result<Json> expected_kernels(FileSystem& files, const Json& request) {
  Json json;
  SlotKernels kernels = KernelSet::kCpu;
  PackChoice pack;
  if (request.contains("recipe") && request["recipe"].is_string()) {
    const RecipeChoices choices = TRY(read_recipe(files, request["recipe"].get<std::string>()));
    kernels = choices.kernels.value_or(kernels);
    pack = choices.pack.value_or(pack);
  }
  if (request.contains("kernels")) kernels = request["kernels"] == "reference" ? KernelSet::kReference : KernelSet::kCpu;
  for (int i = 0; i < kSlotCount; ++i) json[slot_name(static_cast<Slot>(i))] = set_name(kernels.of(static_cast<Slot>(i)));
  if (!pack.folder.empty()) json[slot_name(Slot::kLoraLinear)] = TRY(built(files, pack.folder)).pack.service_name();
  return json;
}

// The same of the MLX engine; without a word it is mlx-lm's operations.
Result<Json> expected_mlx_kernels(FileSystem& files, const Json& request) {
  MlxRecipe recipe = standard_mlx_recipe();
  PackChoice pack;
  if (request.contains("recipe") && request["recipe"].is_string()) {
    const RecipeChoices choices = TRY(read_recipe(files, request["recipe"].get<std::string>()));
    recipe = choices.mlx.value_or(recipe);
    pack = choices.pack.value_or(pack);
  }
  if (request.contains("kernels") && request["kernels"] == "standard") recipe = standard_mlx_recipe();
  if (request.contains("kernels") && request["kernels"] == "optimized") recipe = optimized_mlx_recipe();
  if (!pack.folder.empty()) {
    TRY(check_pack_target(files, pack.folder, PackTarget::kMlx));
    const std::string name = TRY(built(files, pack.folder)).pack.service_name();
    return Json{{"lora_linear", name}, {"swiglu", word(recipe.swiglu)}, {"head_loss", word(recipe.head_loss)}};
  }
  return Json{{"lora_linear", word(recipe.lora_linear)}, {"swiglu", word(recipe.swiglu)}, {"head_loss", word(recipe.head_loss)}};
}

std::optional<std::string> wrong_kernels(const AppliedExpectation& expected, const Json& applied) {
  for (const auto& [slot, set] : expected.kernels.items()) {
    const Json ran = applied.contains("kernels") && applied["kernels"].is_object() ? applied["kernels"].value(slot, Json()) : Json();
    if (ran != set) return fmt::format("slot {}: expected {}, ran {}", slot, set.dump(), ran.dump());
  }
  return std::nullopt;
}

// The layers that the engine itself says a replacement did not serve, and why.
struct Fallbacks {
  std::set<std::int64_t> layers;
  std::string reasons;
};

Fallbacks fallbacks_of(const Json& applied, const std::string& slot) {
  Fallbacks found;
  const Json all = applied.value("fallbacks", Json::array());
  for (const Json& one : all.is_array() ? all : Json::array()) {
    if (!one.is_object() || one.value("slot", Json()) != slot) continue;
    const Json layers = one.value("layers", Json::array());
    for (const Json& layer : layers.is_array() ? layers : Json::array()) {
      if (layer.is_number_integer()) found.layers.insert(layer.get<std::int64_t>());
    }
    const Json reason = one.value("reason", Json());
    found.reasons += (found.reasons.empty() ? "" : "; ") + (reason.is_string() ? reason.get<std::string>() : "no reason given");
  }
  return found;
}

// What the slots of the MLX engine were really served by: the implementation of the arm in every adapted block, except where the engine names a block
// and a reason, and in one block at least. A block that fell back without a word is found because plain operations ran in more blocks than were
// named.
std::optional<std::string> wrongly_served(const AppliedExpectation& expected, const Json& applied) {
  const Json served = applied.value("served", Json());
  for (const auto& [slot, wanted] : expected.kernels.items()) {
    const Json of_slot = served.is_object() ? served.value(slot, Json()) : Json();
    const auto blocks = [&](const std::string& kind) {
      return of_slot.is_object() ? std::max<std::int64_t>(0, whole_or_minus_one(of_slot, kind.c_str())) : 0;
    };
    const auto kind = wanted.get<std::string>();
    const Fallbacks excused = fallbacks_of(applied, slot);
    const std::int64_t all = slot == "head_loss" ? 1 : std::max<std::int64_t>(1, expected.adapted_layers);
    const std::int64_t mine = blocks(kind);
    const auto excuses = static_cast<std::int64_t>(excused.layers.size());
    if (mine == 0) {
      return fmt::format("slot {}: {} ran in none of {} block{}: {}", slot, kind, all, all == 1 ? "" : "s",
                         excused.reasons.empty() ? "and nothing says why" : excused.reasons);
    }
    const bool replaced = kind != "standard";
    if (mine + excuses < all || (replaced && blocks("standard") > excuses)) {
      return fmt::format("slot {}: {} ran in {} and standard in {} of {} blocks, and nothing says why", slot, kind, mine, blocks("standard"), all);
    }
    if (!replaced && of_slot.size() != 1) return fmt::format("slot {}: expected standard alone, ran {}", slot, of_slot.dump());
  }
  return std::nullopt;
}

// Every adapted block must have gone backward through its linears at least once a step.
std::optional<std::string> skipped_layer(const AppliedExpectation& expected, const Json& applied, std::int64_t steps) {
  const Json layers = applied.value("layers", Json());
  if (!layers.is_array() || static_cast<std::int64_t>(layers.size()) < expected.model_layers)
    return "it reports calls of fewer blocks than the model has";
  for (std::int64_t layer = expected.model_layers - expected.adapted_layers; layer < expected.model_layers; ++layer) {
    const Json& calls = layers[static_cast<std::size_t>(layer)];
    const Json linear = calls.is_object() ? calls.value("lora_linear", Json()) : Json();
    const bool counted = linear.is_array() && linear.size() == 2 && linear[1].is_number_integer();
    const std::int64_t backward = counted ? linear[1].get<std::int64_t>() : 0;
    if (backward < std::max<std::int64_t>(1, steps))
      return fmt::format("block {} ran {} backward calls of lora_linear in {} steps", layer, backward, steps);
  }
  return std::nullopt;
}

}  // namespace

Result<AppliedExpectation> expectation_of(FileSystem& files, const Arm& arm, const Json& request) {
  AppliedExpectation expected;
  if (request.contains("engine")) expected.engine = request["engine"].get<std::string>();
  expected.quantized = arm.requires_quantized_layers;
  if (expected.engine == "fused") expected.kernels = TRY(expected_kernels(files, request));
  if (expected.engine == "mlx") expected.kernels = TRY(expected_mlx_kernels(files, request));
  const Json config = TRY(read_json_object(files, fs::path(request["model"].get<std::string>()) / "config.json"));
  expected.model_layers = std::max<std::int64_t>(0, whole_or_minus_one(config, "num_hidden_layers"));
  constexpr std::int64_t kDefaultLayers = 16;  // mlx-lm's
  const std::int64_t asked = request.contains("num_layers") ? whole_or_minus_one(request, "num_layers") : kDefaultLayers;
  expected.adapted_layers = asked <= 0 ? expected.model_layers : std::min(asked, expected.model_layers);
  return expected;
}

std::optional<std::string> missing_proof(const AppliedExpectation& expected, const Json& run, ArmRole role) {
  const char* other = role == ArmRole::kCandidate ? "candidate_not_applied" : "baseline_not_plain";
  const Json applied = run.value("applied", Json());
  if (!applied.is_object()) return "no_applied_record: run.json has no record of what was executed";
  if (const Json engine = applied.value("engine", Json()); engine != expected.engine) {
    return fmt::format("{}: expected engine {}, ran {}", other, expected.engine, engine.dump());
  }
  if (const auto wrong = wrong_kernels(expected, applied)) return fmt::format("{}: {}", other, *wrong);
  if (expected.model_layers > 0) {
    const std::int64_t adapted = whole_or_minus_one(applied, "adapted_layers");
    if (adapted != expected.adapted_layers)
      return fmt::format("layers_skipped: expected {} adapted blocks, got {}", expected.adapted_layers, adapted);
    if (const auto skipped = skipped_layer(expected, applied, whole_or_minus_one(run, "steps"))) return "layers_skipped: " + *skipped;
    // Calls say that a backward pass was asked for; that it reached the adapters is seen in these. Builds that came before this count have none.
    const std::int64_t moved = whole_or_minus_one(applied, "moved_layers");
    if (moved < expected.adapted_layers && (moved >= 0 || expected.engine == "mlx"))
      return fmt::format("layers_skipped: the parameters of {} of {} adapted blocks changed", std::max<std::int64_t>(0, moved),
                         expected.adapted_layers);
  }
  if (expected.engine == "mlx") {
    if (const auto wrong = wrongly_served(expected, applied)) return fmt::format("{}: {}", other, *wrong);
  }
  if (expected.quantized && whole_or_minus_one(applied, "quantized_linears") <= 0)
    return "no_quantized_layers: none of the adapted linears is quantized";
  if (whole_or_minus_one(applied, "updates") <= 0) return "no_updates: the optimizer never ran";
  return std::nullopt;
}

}  // namespace evolora
