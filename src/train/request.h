// TrainRequest and TrainResult: the one contract of a training run, whichever engine does it. Fields are mlx_lm.lora's, with its names and defaults
// (0.32), plus ours.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "data/samples.h"
#include "engine/recipe.h"

namespace evolora {

struct TrainRequest {
  // As mlx_lm.lora has them.
  std::string model;
  std::string data;
  bool train = false;
  bool test = false;
  std::string fine_tune_type = "lora";
  std::string optimizer = "adam";  // adam, adamw
  nlohmann::ordered_json optimizer_config = nlohmann::ordered_json::parse(R"({"adam":{},"adamw":{},"muon":{},"sgd":{},"adafactor":{}})");
  bool mask_prompt = false;
  std::int64_t num_layers = 16;
  std::int64_t batch_size = 4;
  std::optional<std::int64_t> iters;  // default 1000 when epochs is not given either
  std::int64_t val_batches = 25;      // -1: all
  double learning_rate = 1e-5;
  std::int64_t steps_per_report = 10;
  std::int64_t steps_per_eval = 200;
  std::int64_t grad_accumulation_steps = 1;
  std::string resume_adapter_file;
  std::string adapter_path = "adapters";
  std::int64_t save_every = 100;
  std::int64_t test_batches = 500;
  std::int64_t max_seq_length = 2048;
  std::string config;  // the YAML file, as given
  bool grad_checkpoint = false;
  std::uint64_t seed = 0;
  std::int64_t rank = 8;  // lora_parameters
  double scale = 20.0;
  double dropout = 0.0;
  std::optional<std::vector<std::string>> keys;
  nlohmann::ordered_json lora_parameters = nlohmann::ordered_json::parse(R"({"rank":8,"dropout":0.0,"scale":20.0})");  // the block itself, as given
  nlohmann::ordered_json lr_schedule;                                                                                  // null: constant learning_rate
  FeatureNames features;
  nlohmann::ordered_json extra;  // accepted keys that only travel into adapter_config.json

  // Ours.
  std::string engine = "fused";              // fused, mlx
  std::string device = "cpu";                // cpu; gpu: the MLX engine only
  std::optional<double> epochs;              // instead of iters
  bool packing = false;                      // batch_size rows of max_seq_length tokens, filled with whole samples
  bool resume = false;                       // go on from the state that an interrupted run left in adapter_path
  Semantics semantics = Semantics::kNative;  // --compat mlx-lm
  RecipeChoices recipe;                      // what flags and YAML decide
  std::string recipe_file;                   // --recipe: what it decides, where they do not
  std::size_t memory_limit_bytes = 0;        // of the whole process; 0: none
};

// Number of the step (1-based) and what was measured there.
struct LossPoint {
  std::int64_t step = 0;
  double loss = 0;
};

struct TrainResult {
  std::vector<LossPoint> train_losses;  // one per report
  std::vector<LossPoint> val_losses;
  std::optional<double> test_loss;
  std::int64_t steps = 0;
  std::int64_t resumed_from_step = 0;  // 0: trained from the first step on
  std::int64_t trained_tokens = 0;     // real tokens, no padding
  double wall_seconds = 0;             // from process start to the files written
  double training_seconds = 0;         // wall time of the training loop since it began or was resumed, validation excluded
  double tokens_per_second = 0;        // tokens trained in it
  std::size_t peak_rss_bytes = 0;
  std::size_t planned_arena_bytes = 0;
  std::size_t peak_arena_bytes = 0;
  std::size_t trainable_parameters = 0;
  double necessary_flops = 0;          // of the training steps, counted (engine/cost_model.h); validation excluded
  std::size_t prefix_cache_bytes = 0;  // hidden states kept across epochs
  AppliedArithmetic arithmetic;        // of all products with base weights in blocks, training and validation
  nlohmann::ordered_json engine;       // StepEngine::record(): which engine ran, and what filled its slots
};

}  // namespace evolora
