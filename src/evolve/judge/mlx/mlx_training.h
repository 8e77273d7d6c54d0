// The training gate for packs on MLX: short runs with the candidate and with the baseline, in pairs with the same seed and data, in sandboxes; and
// the loss of the adapters that they left, computed by a process that has no pack in it.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "evolve/sandbox/sandbox.h"

namespace evolora {

struct MlxTrainingPlan {
  fs::path model, data;  // empty model: the gate is left out, and details of a judgement say so
  std::int64_t iters = 20;
  std::int64_t batch_size = 4;
  std::int64_t max_seq_length = 256;
  double learning_rate = 1e-4;
  int pairs = 3;
  double loss_margin = 0.01;  // of the baseline's loss, to either side
  double run_seconds = 600;
};

struct MlxTrainingResult {
  bool passed = false;
  std::string reason;                         // one line; empty if passed
  std::vector<double> log_speed, log_memory;  // one per pair: log(baseline / candidate) of wall seconds and peak bytes of the whole process
  nlohmann::ordered_json details;             // per pair: seconds, peak bytes, loss
};

// dora: of the adapters that are trained. work: a folder of the caller's, emptied. Loss is that of data's valid.jsonl, or of train.jsonl if it has
// none. Errors: kInterrupted; kDependency; the judge's own failures; kInternal for a baseline that does not train.
Result<MlxTrainingResult> run_mlx_training(FileSystem& files, const fs::path& candidate, const fs::path& baseline, bool dora, Isolation isolation,
                                           const MlxTrainingPlan& plan, const fs::path& work, std::uint64_t seed, const std::atomic<bool>* stop);

}  // namespace evolora
