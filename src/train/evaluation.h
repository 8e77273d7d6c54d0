// Loss and perplexity: of a batch list inside a run, and of a data file with or without an adapter (the eval command).
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "data/samples.h"
#include "engine/training_engine.h"
#include "train/observer.h"

namespace evolora {

struct LossSummary {
  double loss = 0;          // mean cross-entropy per supervised token
  std::int64_t tokens = 0;  // supervised
  std::int64_t real_tokens = 0;
  double seconds = 0;
};

// Token-weighted mean over the batches. Errors: kBadData if a batch or the whole list has no supervised token (mlx-lm computes NaN there) or the loss
// is not finite; kInterrupted when *stop becomes true (stop may be null).
// loss_sum: of one batch, as StepEngine::loss_sum; its errors are passed on.
using LossFunction = std::function<Result<double>(const Batch&)>;
Result<LossSummary> evaluate_loss(const LossFunction& loss_sum, const std::vector<Batch>& batches, const std::atomic<bool>* stop);

struct EvaluationRequest {
  std::string model;
  std::string adapter_path;  // empty: base model
  std::string data;          // a .jsonl file, or a folder with test.jsonl
  bool mask_prompt = false;
  std::int64_t batch_size = 4;
  std::int64_t max_seq_length = 2048;
  Recipe recipe = {.share_prefixes = true};
  const std::atomic<bool>* stop = nullptr;
};

struct EvaluationResult {
  LossSummary summary;
  double perplexity = 0;
  DataSummary data;
  std::size_t peak_rss_bytes = 0;
};

// Every sample once, native masks. Errors of loading, and kBadData for a file without records.
Result<EvaluationResult> evaluate_file(const EvaluationRequest& request, FileSystem& files, TrainObserver& observer);

}  // namespace evolora
