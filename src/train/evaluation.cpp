// The evaluation loop and the eval command's work.
#include "train/evaluation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "train/clock.h"
#include "train/loaded_model.h"
#include "train/memory_meter.h"
#include "train/train_data.h"

namespace evolora {

Result<LossSummary> evaluate_loss(const LossFunction& loss_sum, const std::vector<Batch>& batches, const std::atomic<bool>* stop) {
  const double start = monotonic_seconds();
  LossSummary summary;
  double sum = 0;
  for (const Batch& batch : batches) {
    if (stop != nullptr && stop->load()) return Error{ErrorCode::kInterrupted, "interrupted during evaluation"};
    if (batch.supervised_count() == 0) {
      return Error{ErrorCode::kBadData,
                   "an evaluation batch has no token to learn: its prompts fill max_seq_length (mlx-lm's loss is NaN here); "
                   "raise --max-seq-length, or leave --compat away"};
    }
    sum += TRY(loss_sum(batch));
    summary.tokens += batch.supervised_count();
    summary.real_tokens += batch.real_tokens;
  }
  if (summary.tokens == 0) return Error{ErrorCode::kBadData, "nothing to evaluate: no batch has a token to learn"};
  summary.loss = sum / static_cast<double>(summary.tokens);
  summary.seconds = monotonic_seconds() - start;
  if (!std::isfinite(summary.loss))
    return Error{ErrorCode::kBadData, "the evaluation loss is not finite: the weights or the adapter hold NaN or infinity"};
  return summary;
}

Result<EvaluationResult> evaluate_file(const EvaluationRequest& request, FileSystem& files, TrainObserver& observer) {
  if (request.data.empty()) return Error{ErrorCode::kUsage, "no data given: name a .jsonl file, or a folder with test.jsonl, with --data"};
  const fs::path path = files.is_directory(request.data) ? fs::path(request.data) / "test.jsonl" : fs::path(request.data);
  if (!files.exists(path)) return Error{ErrorCode::kNotFound, fmt::format("data file '{}' does not exist", path.string())};

  observer.on_status("Loading model");
  const LoadedModel model = TRY(load_model(files, request.model));
  const ModelSpec& spec = model.weights.spec();
  AdapterSet adapters = request.adapter_path.empty() ? TRY(no_adapters(spec)) : TRY(load_adapter_folder(files, request.adapter_path, spec));

  observer.on_status("Tokenising");
  const SampleOptions sample_options{Semantics::kNative, request.mask_prompt, request.max_seq_length, {}};
  const DataSplit split = TRY(load_split(path, sample_options, model, files, observer));
  if (split.samples.empty()) return Error{ErrorCode::kBadData, fmt::format("{}: the file has no records; it needs at least one", path.string())};
  NumpyRandom unused(0);
  const BatchOptions batch_options{request.batch_size, request.max_seq_length, 0, Semantics::kNative};
  EvaluationBatches batches = TRY(EvaluationBatches::create(split, batch_options, -1, unused));

  Threads threads(request.recipe.threads);
  TrainingEngine engine(model.weights, adapters, request.recipe, threads);
  std::size_t arena_bytes = 0;
  for (const Batch& batch : batches.next()) arena_bytes = std::max(arena_bytes, engine.arena_bytes_for(batch, false));
  engine.reserve(arena_bytes);
  observer.on_status("Evaluating");
  EvaluationResult result;
  result.summary = TRY(evaluate_loss([&](const Batch& batch) -> Result<double> { return engine.loss_sum(batch); }, batches.next(), request.stop));
  result.perplexity = std::exp(result.summary.loss);
  result.data = split.summary;
  result.peak_rss_bytes = process_memory().peak_rss_bytes;
  return result;
}

}  // namespace evolora
