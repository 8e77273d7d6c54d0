// The recipe of the MLX engine: which functions on MLX arrays fill its slots. "standard" is what mlx-lm 0.32 computes, op for op; "optimized" gives
// the same result up to rounding with less memory or time.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

// lora_linear. optimized: one function with its own backward; the adapter's products in the type of the activations; only x and x A are saved; DoRA's
// row norm without the dense weight. grouped: the same for q|k|v and gate|up at once, over one concatenated weight.
enum class MlxLoraLinear { kStandard, kOptimized, kGrouped };
// swiglu. optimized: silu(gate) * up is computed again by the backward pass of the down projection instead of being saved.
enum class MlxSwiglu { kStandard, kOptimized };
// head_loss. optimized: supervised rows only, in chunks that run one after the other, dX made with the loss.
enum class MlxHeadLoss { kStandard, kOptimized };
// compiled: the whole step, optimizer inside, is one mx::compile'd function. MLX compiles for CPUs by calling g++ at run time, so the default is
// eager on CPUs and compiled elsewhere.
enum class MlxStep { kDeviceDefault, kEager, kCompiled };
// stored: activations have the type of the model's weights, as in mlx-lm. fp32: everything dense becomes fp32.
enum class MlxArithmetic { kStored, kFp32 };

struct MlxRecipe {
  MlxLoraLinear lora_linear = MlxLoraLinear::kStandard;
  MlxSwiglu swiglu = MlxSwiglu::kStandard;
  MlxHeadLoss head_loss = MlxHeadLoss::kStandard;
  MlxStep step = MlxStep::kDeviceDefault;
  MlxArithmetic arithmetic = MlxArithmetic::kStored;
  bool keep_buffers = false;  // false: MLX's buffer cache is emptied after every step, as mlx-lm 0.32 does

  bool operator==(const MlxRecipe&) const = default;
};

MlxRecipe standard_mlx_recipe();
MlxRecipe optimized_mlx_recipe();

nlohmann::ordered_json mlx_recipe_to_json(const MlxRecipe& recipe);
// "standard", "optimized", or an object of the fields that differ from standard. Errors: kUsage naming source, field, expected and got.
Result<MlxRecipe> mlx_recipe_from_json(const nlohmann::ordered_json& json, const std::string& source);

const char* word(MlxLoraLinear value);
const char* word(MlxSwiglu value);
const char* word(MlxHeadLoss value);

}  // namespace evolora
