// The files of a run in its adapter folder besides the weights: adapter_config.json (mlx-lm's), metrics.jsonl (one line per report) and run.json.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "train/request.h"

namespace evolora {

// vars(args) of mlx_lm.lora for this request, with iters resolved; our own keys only where they were set. Every value it understands is as mlx-lm
// writes it.
nlohmann::ordered_json adapter_config_of(const TrainRequest& request, std::int64_t iters);

// metrics.jsonl: lines are complete when append() returns. Starting a log empties the file of an earlier run.
class MetricsLog {
 public:
  static Result<MetricsLog> start(FileSystem& files, const fs::path& path);
  // Goes on with an earlier run's log after last_step; lines of later steps are dropped, they will come again.
  static Result<MetricsLog> resume(FileSystem& files, const fs::path& path, std::int64_t last_step);
  Status append(const nlohmann::ordered_json& line);
  Status close();

 private:
  explicit MetricsLog(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}
  std::unique_ptr<WritableFile> file_;
};

// How a run ended.
struct RunOutcome {
  std::string status;  // "completed", "interrupted", "failed"
  std::string error;   // of a failed run
  std::optional<double> best_val_loss;
  std::int64_t best_val_step = 0;
  std::size_t expected_peak_rss_bytes = 0;
  double predicted_seconds = 0;
  double fma_peak_flops = 0;
  Recipe recipe;                   // as it was run
  nlohmann::ordered_json applied;  // applied_record.h; null: nothing ran
};

// run.json: configuration, versions, machine and results of a run.
nlohmann::ordered_json run_record(const TrainRequest& request, const TrainResult& result, const RunOutcome& outcome, const std::string& version);

// The SIMD instruction set the kernels choose on this machine: "AVX2", "AVX3_DL", "NEON", ...
std::string simd_target();

}  // namespace evolora
