// The data of a run: files of the data folder -> tokenised samples -> batches for training, and batch sets for evaluation.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/file_system.h"
#include "base/numpy_random.h"
#include "data/batcher.h"
#include "data/samples.h"
#include "train/loaded_model.h"
#include "train/observer.h"
#include "train/request.h"

namespace evolora {

struct DataSplit {
  DataSummary summary;
  std::vector<Sample> samples;
};

struct TrainData {
  std::optional<DataSplit> train;
  std::optional<DataSplit> valid;  // nullopt: no validation
  std::optional<DataSplit> test;
};

// Reads and tokenises what the request needs: train and valid for training, test for a test. Warns (observer) about a missing or empty valid.jsonl,
// cut and dropped samples. Errors: kNotFound / kUsage for the folder or a needed file, kBadData for an empty one, and those of read_records and
// make_samples.
Result<TrainData> load_train_data(const TrainRequest& request, const LoadedModel& model, FileSystem& files, TrainObserver& observer);

// One file, tokenised and summarised. Empty file: no samples.
Result<DataSplit> load_split(const fs::path& path, const SampleOptions& options, const LoadedModel& model, FileSystem& files,
                             TrainObserver& observer);

struct BatchOptions {
  std::int64_t batch_size = 4;
  std::int64_t max_seq_length = 2048;
  std::uint64_t seed = 0;
  Semantics semantics = Semantics::kNative;
  bool packing = false;
};

// Native (by length, or packed) or compat batcher over a split. Compat draws from random, which must outlive it. Errors name the split's file.
Result<std::unique_ptr<Batcher>> make_batcher(const DataSplit& split, const BatchOptions& options, NumpyRandom& random);

// Calls visit for every batch that `steps` steps of such a batcher will give, without touching anybody's random stream: for memory planning.
// Compat compositions never change, so one pass over the data shows them all.
Status visit_batches_to_come(const DataSplit& split, const BatchOptions& options, std::int64_t steps, const std::function<void(const Batch&)>& visit);

// The batches of one evaluation. Native: always the same ones. Compat: mlx-lm draws a new order for each evaluation and takes the first `limit`.
class EvaluationBatches {
 public:
  // limit: batches per evaluation, -1: all. Compat draws from random, which must outlive it.
  static Result<EvaluationBatches> create(const DataSplit& split, const BatchOptions& options, std::int64_t limit, NumpyRandom& random);
  const std::vector<Batch>& next();

 private:
  std::unique_ptr<Batcher> batcher_;  // null once a native set is fixed
  std::int64_t limit_ = -1;
  std::vector<Batch> batches_;
};

}  // namespace evolora
