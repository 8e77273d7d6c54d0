// Loading of data folders and the batch streams over them.
#include "train/train_data.h"

#include <fmt/format.h>

#include <algorithm>

namespace evolora {
namespace {

// Native batches differ from epoch to epoch, so the plan walks through all of them; it takes about 10 us a batch, and beyond this many steps the
// largest batch has all but surely been seen.
constexpr std::int64_t kMaxPlannedSteps = 100000;

// Line numbers for a warning: all of a few, the first of many.
std::string some_lines(const std::vector<std::size_t>& lines) {
  constexpr std::size_t kShown = 5;
  const std::vector<std::size_t> shown(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, lines.size())));
  return fmt::format("line{} {}{}", lines.size() == 1 ? "" : "s", fmt::join(shown, ", "), lines.size() > kShown ? ", ..." : "");
}

void warn_about(const SampleSet& set, const DataSummary& summary, std::int64_t max_seq_length, TrainObserver& observer) {
  if (summary.truncated > 0) {
    observer.on_warning(
        fmt::format("{}: {} of {} samples are longer than {} tokens and were cut (the longest has {}); raise --max-seq-length or split them",
                    summary.path, summary.truncated, summary.samples, max_seq_length, summary.longest_tokens));
  }
  if (summary.dropped > 0) {
    observer.on_warning(fmt::format("{}: {} sample{} without a token to learn {} left out ({})", summary.path, summary.dropped,
                                    summary.dropped == 1 ? "" : "s", summary.dropped == 1 ? "was" : "were", some_lines(set.unsupervised_lines)));
  }
}

Status check_data_folder(const std::string& data, FileSystem& files) {
  if (data.empty()) return Error{ErrorCode::kUsage, "no data given: name a folder with train.jsonl and valid.jsonl with --data"};
  if (!files.exists(data)) {
    return Error{ErrorCode::kNotFound, fmt::format("data folder '{}' does not exist; data sets of a hub are not downloaded: export one to "
                                                   "FOLDER/train.jsonl and FOLDER/valid.jsonl, one JSON object per line, and give FOLDER",
                                                   data)};
  }
  if (!files.is_directory(data)) {
    return Error{ErrorCode::kUsage, fmt::format("data '{}' is a file, expected a folder with train.jsonl and valid.jsonl", data)};
  }
  return {};
}

Result<DataSplit> load_needed(const fs::path& path, const SampleOptions& options, const LoadedModel& model, FileSystem& files,
                              TrainObserver& observer) {
  DataSplit split = TRY(load_split(path, options, model, files, observer));
  if (split.samples.empty()) return Error{ErrorCode::kBadData, fmt::format("{}: the file has no records; it needs at least one", path.string())};
  return split;
}

}  // namespace

Result<DataSplit> load_split(const fs::path& path, const SampleOptions& options, const LoadedModel& model, FileSystem& files,
                             TrainObserver& observer) {
  DataSplit split;
  split.summary.path = path.string();
  const RecordFile file = TRY(read_records(files, path, options.names));
  if (file.records.empty()) return split;
  SampleSet set = TRY(make_samples(file, model.tokenizer, options));
  for (const Sample& sample : set.samples) {
    if (const Status fits = check_token_ids(model, sample.tokens); !fits.ok()) {
      return Error{fits.error().code, fmt::format("{}:{}: {}", path.string(), sample.line, fits.error().message)};
    }
  }

  DataSummary& summary = split.summary;
  const auto limit = static_cast<std::size_t>(options.max_seq_length);
  for (const Sample& sample : set.samples) {
    const std::size_t kept = std::min(sample.tokens.size(), limit);
    summary.tokens += kept;
    summary.supervised_tokens += static_cast<std::size_t>(
        std::count(sample.supervised.begin(), sample.supervised.begin() + static_cast<std::ptrdiff_t>(kept), std::uint8_t{1}));
    // Compat samples are cut by the batcher, later.
    if (options.semantics == Semantics::kCompatMlxLm && sample.tokens.size() > limit) ++summary.truncated;
  }
  summary.samples = set.samples.size();
  summary.truncated += options.semantics == Semantics::kNative ? set.truncated : 0;
  summary.longest_tokens = set.longest_tokens;
  summary.dropped = set.without_supervision;
  warn_about(set, summary, options.max_seq_length, observer);
  split.samples = std::move(set.samples);
  return split;
}

Result<TrainData> load_train_data(const TrainRequest& request, const LoadedModel& model, FileSystem& files, TrainObserver& observer) {
  TRY(check_data_folder(request.data, files));
  const fs::path folder = request.data;
  const SampleOptions options{request.semantics, request.mask_prompt, request.max_seq_length, request.features};
  TrainData data;
  if (request.train) {
    data.train = TRY(load_needed(folder / "train.jsonl", options, model, files, observer));
    const fs::path valid = folder / "valid.jsonl";
    if (!files.exists(valid)) {
      observer.on_warning(fmt::format("{} does not exist: training without validation", valid.string()));
    } else {
      DataSplit split = TRY(load_split(valid, options, model, files, observer));
      if (split.samples.empty()) observer.on_warning(fmt::format("{} has no records: training without validation", valid.string()));
      if (!split.samples.empty() && request.val_batches != 0) data.valid = std::move(split);
    }
  }
  if (request.test) data.test = TRY(load_needed(folder / "test.jsonl", options, model, files, observer));
  std::int64_t id = 0;
  for (std::optional<DataSplit>* split : {&data.train, &data.valid, &data.test}) {
    if (!*split) continue;
    for (Sample& sample : (*split)->samples) sample.id = id++;
  }
  return data;
}

Result<std::unique_ptr<Batcher>> make_batcher(const DataSplit& split, const BatchOptions& options, NumpyRandom& random) {
  if (options.packing) {
    return std::unique_ptr<Batcher>(std::make_unique<PackedBatcher>(split.samples, options.batch_size, options.max_seq_length, options.seed));
  }
  if (options.semantics == Semantics::kNative) return make_native_batcher(split.samples, options.batch_size, options.seed);
  auto batcher = CompatBatcher::create(split.samples, options.batch_size, options.max_seq_length, random);
  if (!batcher.ok()) return Error{batcher.error().code, fmt::format("{}: {}", split.summary.path, batcher.error().message)};
  return std::unique_ptr<Batcher>(std::move(batcher).value());
}

Status visit_batches_to_come(const DataSplit& split, const BatchOptions& options, std::int64_t steps,
                             const std::function<void(const Batch&)>& visit) {
  NumpyRandom scratch(0);
  const std::unique_ptr<Batcher> batcher = TRY(make_batcher(split, options, scratch));
  const bool fixed_compositions = options.semantics == Semantics::kCompatMlxLm;
  for (std::int64_t left = std::min(steps, kMaxPlannedSteps); left > 0;) {
    for (const Batch& batch : batcher->next_epoch()) {
      if (left <= 0 && !fixed_compositions) break;
      visit(batch);
      --left;
    }
    if (fixed_compositions) break;
  }
  return {};
}

Result<EvaluationBatches> EvaluationBatches::create(const DataSplit& split, const BatchOptions& options, std::int64_t limit, NumpyRandom& random) {
  EvaluationBatches out;
  out.limit_ = limit;
  out.batcher_ = TRY(make_batcher(split, options, random));
  if (options.semantics == Semantics::kNative) {
    out.next();
    out.batcher_.reset();
  }
  return out;
}

const std::vector<Batch>& EvaluationBatches::next() {
  if (batcher_ == nullptr) return batches_;
  batches_ = batcher_->next_epoch();
  if (limit_ >= 0 && static_cast<std::int64_t>(batches_.size()) > limit_) batches_.resize(static_cast<std::size_t>(limit_));
  return batches_;
}

}  // namespace evolora
