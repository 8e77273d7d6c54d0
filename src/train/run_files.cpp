// Contents of adapter_config.json, metrics.jsonl and run.json.
#include "train/run_files.h"

#include <hwy/targets.h>

#include <span>
#include <sstream>
#include <string>

#include "base/json.h"
#include "engine/recipe_json.h"
#include "kernels/lora_linear/low_precision.h"
#include "train/memory_meter.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Json text_or_null(const std::string& text) { return text.empty() ? Json() : Json(text); }

Json last_loss(const std::vector<LossPoint>& points) { return points.empty() ? Json() : Json(points.back().loss); }

Json loss_curve(const std::vector<LossPoint>& points) {
  Json curve = Json::array();
  for (const LossPoint& point : points) curve.push_back({{"step", point.step}, {"loss", point.loss}});
  return curve;
}

// Products with base weights that ran in each arithmetic, and the instructions behind it.
Json arithmetic_record(const AppliedArithmetic& applied) {
  Json record;
  for (int i = 0; i < kArithmeticCount; ++i) {
    const auto arithmetic = static_cast<Arithmetic>(i);
    const auto index = static_cast<std::size_t>(i);
    if (applied.forward[index] + applied.backward[index] == 0) continue;
    record[arithmetic_name(arithmetic)] = {
        {"forward", applied.forward[index]}, {"backward", applied.backward[index]}, {"instructions", arithmetic_instructions(arithmetic)}};
  }
  return record;
}

}  // namespace

Json adapter_config_of(const TrainRequest& request, std::int64_t iters) {
  Json config = {
      {"adapter_path", request.adapter_path},
      {"batch_size", request.batch_size},
      {"clear_cache_threshold", 0},
      {"config", text_or_null(request.config)},
      {"data", request.data},
      {"fine_tune_type", request.fine_tune_type},
      {"grad_accumulation_steps", request.grad_accumulation_steps},
      {"grad_checkpoint", request.grad_checkpoint},
      {"iters", iters},
      {"learning_rate", request.learning_rate},
      {"lora_parameters", request.lora_parameters},
      {"lr_schedule", request.lr_schedule},
      {"mask_prompt", request.mask_prompt},
      {"max_seq_length", request.max_seq_length},
      {"model", request.model},
      {"num_layers", request.num_layers},
      {"optimizer", request.optimizer},
      {"optimizer_config", request.optimizer_config},
      {"project_name", nullptr},
      {"report_to", nullptr},
      {"resume_adapter_file", text_or_null(request.resume_adapter_file)},
      {"save_every", request.save_every},
      {"seed", request.seed},
      {"steps_per_eval", request.steps_per_eval},
      {"steps_per_report", request.steps_per_report},
      {"test", request.test},
      {"test_batches", request.test_batches},
      {"train", request.train},
      {"trust_remote_code", false},
      {"val_batches", request.val_batches},
  };
  for (const auto& [key, value] : request.extra.items()) config[key] = value;
  if (request.epochs) config["epochs"] = *request.epochs;
  if (request.packing) config["packing"] = true;
  if (request.semantics == Semantics::kCompatMlxLm) config["compat"] = "mlx-lm";
  if (request.engine != "fused") config["engine"] = request.engine;
  if (request.device != "cpu") config["device"] = request.device;
  if (request.recipe.threads) config["threads"] = *request.recipe.threads;
  if (request.recipe.micro_batch_tokens) config["micro_batch_tokens"] = *request.recipe.micro_batch_tokens;
  if (request.recipe.kernels == SlotKernels(KernelSet::kReference)) config["kernels"] = "reference";
  if (!request.recipe_file.empty()) config["recipe"] = request.recipe_file;
  if (request.memory_limit_bytes != 0) config["memory_limit"] = std::to_string(request.memory_limit_bytes) + "B";
  return config;
}

Result<MetricsLog> MetricsLog::start(FileSystem& files, const fs::path& path) { return MetricsLog(TRY(files.create(path))); }

Result<MetricsLog> MetricsLog::resume(FileSystem& files, const fs::path& path, std::int64_t last_step) {
  std::string kept;
  if (files.exists(path)) {
    std::istringstream text(TRY(files.read(path)));
    for (std::string line; std::getline(text, line);) {
      // A killed run's last line may be half a line.
      const auto json = parse_json(line);
      const bool whole = json.ok() && json->is_object() && json->contains("step") && (*json)["step"].is_number_integer();
      if (whole && (*json)["step"].get<std::int64_t>() <= last_step) kept += line + "\n";
    }
  }
  TRY(write_file_atomically(files, path, kept));
  return MetricsLog(TRY(files.append(path)));
}

Status MetricsLog::append(const Json& line) {
  const std::string text = line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return file_->write(std::as_bytes(std::span(text)));
}

Status MetricsLog::close() { return file_->close(); }

Json run_record(const TrainRequest& request, const TrainResult& result, const RunOutcome& outcome, const std::string& version) {
  const MachineInfo machine = machine_info();
  Json record = {
      {"status", outcome.status},
      {"error", text_or_null(outcome.error)},
      {"steps", result.steps},
      {"resumed_from_step", result.resumed_from_step},
      {"trained_tokens", result.trained_tokens},
      {"tokens_per_second", result.tokens_per_second},
      {"wall_seconds", result.wall_seconds},
      {"train_loss", last_loss(result.train_losses)},
      {"val_loss", last_loss(result.val_losses)},
      {"val_loss_before", result.val_losses.empty() ? Json() : Json(result.val_losses.front().loss)},
      {"best_val_loss", outcome.best_val_loss ? Json(*outcome.best_val_loss) : Json()},
      {"best_val_step", outcome.best_val_loss ? Json(outcome.best_val_step) : Json()},
      {"test_loss", result.test_loss ? Json(*result.test_loss) : Json()},
      {"trainable_parameters", result.trainable_parameters},
      {"peak_rss_bytes", result.peak_rss_bytes},
      {"expected_peak_rss_bytes", outcome.expected_peak_rss_bytes},
      {"training_seconds", result.training_seconds},
      {"predicted_seconds", outcome.predicted_seconds},
      {"fma_peak_flops", outcome.fma_peak_flops},
      {"necessary_flops", result.necessary_flops},
      {"prefix_cache_bytes", result.prefix_cache_bytes},
      {"recipe", recipe_to_json(outcome.recipe)},
      {"applied", outcome.applied},
      {"base_products", arithmetic_record(result.arithmetic)},
      {"engine", result.engine},
      {"planned_arena_bytes", result.planned_arena_bytes},
      {"peak_arena_bytes", result.peak_arena_bytes},
      {"train_losses", loss_curve(result.train_losses)},
      {"val_losses", loss_curve(result.val_losses)},
      {"config", adapter_config_of(request, request.iters.value_or(result.steps))},
      {"versions", {{"evolora", version}, {"compiler", __VERSION__}}},
      {"machine",
       {{"cpu", machine.cpu}, {"cores", machine.cores}, {"simd_target", simd_target()}, {"os", machine.os}, {"memory_bytes", machine.memory_bytes}}},
  };
  return record;
}

std::string simd_target() {
  // Bits are ordered best first, and the lowest one set is what Highway dispatches to.
  const auto targets = hwy::SupportedTargets();
  return hwy::TargetName(targets & -targets);
}

}  // namespace evolora
