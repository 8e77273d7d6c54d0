// The steps of a run: batches, gradient accumulation, updates, validation, reports, saves. Everything it needs is loaded and planned already
// (trainer.cpp).
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "engine/step_engine.h"
#include "model/adapter.h"
#include "train/learning_rate.h"
#include "train/observer.h"
#include "train/request.h"
#include "train/run_files.h"
#include "train/train_data.h"

namespace evolora {

// Borrowed parts of a run; all outlive the loop.
struct LoopParts {
  const TrainRequest& request;
  std::int64_t steps;  // micro-steps to do (mlx-lm's iters)
  AdapterSet& adapters;
  StepEngine& engine;
  const LearningRate& learning_rate;
  Batcher& train_batches;
  EvaluationBatches* valid_batches;  // null: no validation
  FileSystem& files;
  TrainObserver& observer;
  MetricsLog& metrics;
  const std::atomic<bool>* stop;  // may be null
  // Writes what a later run needs to go on from here: the loop's own state, and whether gradients() hold a part of an update. Empty: nothing is
  // written.
  std::function<Status(const nlohmann::ordered_json& loop, bool gradients_pending)> save_state;
  // Called before the first adapter of the run is written: the moment from which adapter_config.json must be this run's and no earlier one's.
  std::function<Status()> write_config;
};

// Single use, not thread-safe.
class TrainingLoop {
 public:
  explicit TrainingLoop(const LoopParts& parts) : p_(parts) {}

  // Goes on after the step of a state that save_state was given; the other parts are as they were then. Before run(). kBadData for a state that is
  // none. TrainingState::check_steps says whether a run of p_.steps can go on from it.
  Status restore(const nlohmann::ordered_json& state);

  // Trains to the end and saves. On kInterrupted the adapter has been saved too. Results so far are valid after any outcome.
  Status run();

  const TrainResult& result() const { return result_; }
  std::optional<double> best_val_loss() const { return best_val_loss_; }
  std::int64_t best_val_step() const { return best_val_step_; }

 private:
  bool compat() const { return p_.request.semantics == Semantics::kCompatMlxLm; }
  bool stop_requested() const { return p_.stop != nullptr && p_.stop->load(); }
  nlohmann::ordered_json state() const;
  Status write_config_once();
  void replay_batches();
  Status run_steps();
  Status finish_step(std::int64_t step);
  Batch take_batch(std::int64_t step);
  Status check_batch(const Batch& batch, std::int64_t step) const;
  Status train_on(const Batch& batch, std::int64_t step);
  std::optional<StepUpdate> update_after(std::int64_t step) const;
  bool validation_due(std::int64_t step) const;
  Status validate(std::int64_t steps_done);
  void progress(std::int64_t step, double batch_loss);
  void report(std::int64_t step);
  Status write_metrics();
  Status save(std::int64_t step, bool snapshot);
  Status save_best(std::int64_t step);
  Error interrupted(std::int64_t steps_done);
  double epoch_at(std::int64_t step) const;

  LoopParts p_;
  TrainResult result_;
  std::int64_t first_step_ = 1;
  std::int64_t tokens_before_ = 0;      // trained by the run that is gone on with
  std::deque<Batch> epoch_;             // batches of the current epoch not yet used
  std::deque<Batch> window_;            // native: the rest of the current accumulation window
  std::int64_t window_supervised_ = 0;  // native: supervised tokens of the whole window
  float last_learning_rate_ = 0;
  std::optional<double> best_val_loss_;
  std::int64_t best_val_step_ = 0;
  std::int64_t last_saved_step_ = 0;
  bool config_written_ = false;
  nlohmann::ordered_json metrics_line_;  // of the current step; empty: nothing to write

  // Since the last report.
  double loss_sum_ = 0;     // native: of tokens; compat: of batch means
  double loss_weight_ = 0;  // native: tokens; compat: batches
  std::int64_t report_tokens_ = 0;
  std::int64_t report_steps_ = 0;
  double report_start_ = 0;
  double report_excluded_ = 0;  // seconds of validation

  double start_ = 0;
  double excluded_ = 0;  // seconds of validation since the start
  double last_validation_seconds_ = 0;
};

}  // namespace evolora
