// The recipe of the MLX engine: which functions on MLX arrays fill its slots. "standard" is what mlx-lm 0.32 computes, op for op; "optimized" gives
// the same result up to rounding with less memory or time.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace evolora {

// lora_linear. optimized: one function with its own backward; the adapter's products in the type of the activations; only x and x A are saved; DoRA's
// row norm without the dense weight. grouped: the same for q|k|v and gate|up at once, over one concatenated weight. kPack: a kernel pack's, chosen by
// the recipe's field "pack" and not by a word.
enum class MlxLoraLinear { kStandard, kOptimized, kGrouped, kPack };
// swiglu. optimized: silu(gate) * up is computed again by the backward pass of the down projection instead of being saved.
enum class MlxSwiglu { kStandard, kOptimized };
// head_loss. optimized: supervised rows only, in chunks that run one after the other, dX made with the loss.
enum class MlxHeadLoss { kStandard, kOptimized };
// compiled: the whole step, optimizer inside, is one mx::compile'd function. MLX compiles for CPUs by calling g++ at run time, so the default is
// eager on CPUs and compiled elsewhere.
enum class MlxStep { kDeviceDefault, kEager, kCompiled };
// stored: activations have the type of the model's weights, as in mlx-lm. fp32: everything dense becomes fp32.
enum class MlxArithmetic { kStored, kFp32 };
// How much work MLX hands to a CUDA device at once. small: at most 40 operations or 200 MB of buffers, instead of 100 or 1 GB; buffers of work that
// is handed over are not free before it ran, so smaller pieces lower the peak. On an H100, Qwen2.5-0.5B, 4 x 512 tokens: 3.8 GB instead of 6.0 GB at
// the same speed. Set through MLX_MAX_OPS_PER_BUFFER and MLX_MAX_MB_PER_BUFFER before the device is first used, unless the user has set them.
enum class MlxGraphs { kDeviceDefault, kSmall };

struct MlxRecipe {
  MlxLoraLinear lora_linear = MlxLoraLinear::kStandard;
  MlxSwiglu swiglu = MlxSwiglu::kStandard;
  MlxHeadLoss head_loss = MlxHeadLoss::kStandard;
  MlxStep step = MlxStep::kDeviceDefault;
  MlxArithmetic arithmetic = MlxArithmetic::kStored;
  bool keep_buffers = false;  // false: MLX's buffer cache is emptied after every step, as mlx-lm 0.32 does
  MlxGraphs graphs = MlxGraphs::kDeviceDefault;

  bool operator==(const MlxRecipe&) const = default;
};

MlxRecipe standard_mlx_recipe();
// Measured on an H100 (docs/performance.md). The head stays standard: the optimized one pays where few positions are supervised.
MlxRecipe optimized_mlx_recipe();

nlohmann::ordered_json mlx_recipe_to_json(const MlxRecipe& recipe);
// "standard", "optimized", or an object of the fields that differ from standard. Errors: kUsage naming source, field, expected and got.
Result<MlxRecipe> mlx_recipe_from_json(const nlohmann::ordered_json& json, const std::string& source);

const char* word(MlxLoraLinear value);
const char* word(MlxSwiglu value);
const char* word(MlxHeadLoss value);

}  // namespace evolora
