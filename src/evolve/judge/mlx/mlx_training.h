// The training gate for packs on MLX: short runs with the candidate and with the baseline, in pairs with the same seed and data, in sandboxes; and
// the loss of the adapters that they left, computed by a process that has no pack in it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "evolve/sandbox/sandbox.h"
#include "kernels/pack/pack_folder.h"
#include "measure/verdict.h"

namespace evolora {

struct MlxTrainingPlan {
  fs::path model, data;  // empty model: no training
  // Of both arms, besides: as a training request has them. What kind of adapter is trained follows from the pack; seed, and what is reported,
  // validated and saved, are the gate's.
  nlohmann::ordered_json settings = {{"num_layers", -1}, {"iters", 20}, {"batch_size", 4}, {"max_seq_length", 256}, {"learning_rate", 1e-4}};
  int pairs = 3;
  double loss_margin = 0.01;      // of the baseline's loss, to either side
  double progress_margin = 0.01;  // of how far the baseline's loss fell
  double run_seconds = 600;
};

struct MlxTrainingArms {
  fs::path candidate, baseline;  // libraries
};

struct MlxTrainingResult {
  bool passed = false;
  std::string reason;                                      // one line; empty if passed
  std::map<std::string, std::vector<SamplePair>> samples;  // of each slot: wall seconds and peak bytes of the whole process, loss and how far it fell
  std::vector<double> log_speed, log_memory;               // one per pair, the mean over slots: log(baseline / candidate)
  nlohmann::ordered_json details;                          // by slot; of each pair seconds, peak bytes, loss
};

// One kind of adapter after the other, for each slot of the pack. work: a folder of the caller's, emptied. Loss is that of data's valid.jsonl, or of
// train.jsonl if it has none. A pair whose losses differ by more than a margin ends it; where a loss falls by less than a ten-thousandth its fall is
// not compared. Errors: kInterrupted; kDependency; the judge's own failures; kBadData for a baseline that does not train.
Result<MlxTrainingResult> run_mlx_training(FileSystem& files, const MlxTrainingArms& arms, const PackManifest& manifest, Isolation isolation,
                                           const MlxTrainingPlan& plan, const fs::path& work, std::uint64_t seed, const std::atomic<bool>* stop);

}  // namespace evolora
