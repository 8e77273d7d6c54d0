// What a training run tells while it runs. The command line prints it; tests record it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "engine/recipe.h"

namespace evolora {

// One data file after tokenisation.
struct DataSummary {
  std::string path;
  std::size_t samples = 0;
  std::size_t tokens = 0;  // after cutting
  std::size_t supervised_tokens = 0;
  std::size_t truncated = 0;       // samples cut to max_seq_length
  std::size_t longest_tokens = 0;  // before cutting
  std::size_t dropped = 0;         // samples in which nothing can be learned
};

// Everything known before the first step.
struct TrainPlan {
  std::string model;
  std::string model_type;
  std::string weight_format;  // "4-bit group 32", "BF16"
  std::int64_t model_layers = 0;
  std::int64_t adapted_layers = 0;
  std::size_t adapted_linears = 0;
  std::size_t total_parameters = 0;  // frozen and trainable
  std::size_t trainable_parameters = 0;
  std::optional<DataSummary> train;
  std::optional<DataSummary> valid;
  std::optional<DataSummary> test;
  std::int64_t batch_size = 0;
  std::int64_t batches_per_epoch = 0;
  std::int64_t steps = 0;              // 0: no training, only a test
  double epochs = 0;                   // that these steps are
  std::int64_t resumed_from_step = 0;  // the steps up to it are done already
  double fill_rate = 0;                // packing: share of the rows' tokens that samples fill; 0: rows are not packed
  int threads = 0;
  std::string engine;   // "fused", "mlx"
  std::string kernels;  // "cpu AVX2"; "MLX 0.32.4 gpu"
  Recipe recipe;
  double predicted_seconds = 0;  // of the whole training, validations included; 0: not predicted
  double fma_peak_flops = 0;     // of all threads, measured while planning
  std::size_t arena_bytes = 0;
  std::size_t weights_bytes = 0;
  std::size_t adapter_bytes = 0;  // parameters, gradients and both moments
  std::size_t expected_peak_rss_bytes = 0;
};

struct StepProgress {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double epoch = 0;         // 1.5: half of the second pass done
  double loss = 0;          // of this step's batch
  double tokens_per_s = 0;  // since the start, validation excluded
  std::size_t rss_bytes = 0;
  double seconds_left = 0;  // estimate, validations included
};

struct TrainReport {
  std::int64_t step = 0;
  std::int64_t steps = 0;
  double train_loss = 0;  // since the last report
  double learning_rate = 0;
  double steps_per_s = 0;
  double tokens_per_s = 0;
  std::int64_t trained_tokens = 0;
  std::size_t rss_bytes = 0;
  std::size_t peak_rss_bytes = 0;
};

struct ValidationReport {
  std::int64_t step = 0;  // steps done before it
  double loss = 0;
  std::int64_t tokens = 0;
  double seconds = 0;
  bool is_best = false;
};

// Called from the thread that runs the training; must return soon.
class TrainObserver {
 public:
  virtual ~TrainObserver() = default;
  virtual void on_status(const std::string& /*what_happens_now*/) {}
  virtual void on_plan(const TrainPlan& /*plan*/) {}
  virtual void on_progress(const StepProgress& /*progress*/) {}
  virtual void on_report(const TrainReport& /*report*/) {}
  virtual void on_validation(const ValidationReport& /*validation*/) {}
  virtual void on_save(std::int64_t /*step*/, const std::vector<fs::path>& /*files*/) {}
  virtual void on_warning(const std::string& /*message*/) {}
};

}  // namespace evolora
