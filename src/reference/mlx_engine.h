// The MLX engine: the training step as a graph of MLX operations with MLX's autodiff, op for op what mlx-lm 0.32 computes (mlx_lm/tuner/trainer.py,
// mlx_lm/models/llama.py and qwen2.py, mlx_lm/tuner/lora.py and dora.py), or with some slots replaced as the recipe says. It is the baseline, an
// oracle for gradients, and the engine on GPUs that MLX knows.
//
// This header does not include MLX: the implementation is the module evolora_mlx_engine.so, loaded at run time (train/mlx_module.h), so a program
// without MLX's library still starts and the fused engine does not carry it.
#pragma once

#include <memory>
#include <string>

#include "engine/mlx_recipe.h"
#include "engine/step_engine.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

enum class MlxDevice { kCpu, kGpu };

struct MlxEngineOptions {
  MlxDevice device = MlxDevice::kCpu;
  MlxRecipe recipe;
  bool grad_checkpoint = false;          // every block is computed again in the backward pass, as mlx-lm's grad_checkpoint
  std::int64_t head_rows_per_chunk = 0;  // of the optimized head_loss; <= 0: chosen from the vocabulary size
  std::int64_t max_input_tokens = 0;     // rows are padded to a multiple of 32, but not beyond this (mlx-lm: max_seq_length - 1); 0: no bound
  AdamOptions adam;
  std::string pack_library;  // of a kernel pack for mlx, compiled; empty: none
  std::string pack_name;     // as records say it: "pack:DIGEST"
};

// Copies the weights into MLX arrays and gives the mapped pages back. Borrows weights and adapters, which must outlive the engine. Only one engine of
// a process may be used at a time: MLX's default device is global. Errors: those of MlxPack::load; kUnsupported when MLX has no such device;
// kTooLarge for a size that MLX's 32-bit shapes cannot hold; kInternal with MLX's own message.
Result<std::unique_ptr<StepEngine>> make_mlx_engine(const MlxEngineOptions& options, const ModelWeights& weights, AdapterSet& adapters);

// What the module exports as evolora_mlx_engine_entry().
struct MlxModuleEntry {
  const char* version;      // of this program, which must be that of the loader
  const char* mlx_version;  // of the MLX library at hand
  Result<std::unique_ptr<StepEngine>> (*make)(const MlxEngineOptions&, const ModelWeights&, AdapterSet&);
};

}  // namespace evolora
