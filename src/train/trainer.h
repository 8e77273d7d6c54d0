// Runs a TrainRequest from files to files on the fused CPU engine: load, tokenise, plan memory, train, validate, save.
//
// Native semantics: an accumulation window's loss is the mean over all its supervised tokens, every sample is used, the last window may be shorter,
// validation (before the first step, every steps_per_eval, after the last) always sees the same batches.
// Compat semantics (--compat mlx-lm): mlx-lm 0.32's loop, including where it draws random numbers, validates before a step, averages micro-batch
// means and drops what an incomplete window has gathered.
#pragma once

#include <atomic>
#include <string>

#include "base/file_system.h"
#include "train/observer.h"
#include "train/request.h"

namespace evolora {

struct TrainControl {
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler; the run ends after the step or evaluation batch at hand
  std::string version = "unknown";          // of the program, for run.json
};

// Writes into request.adapter_path: adapters.safetensors, NNNNNNN_adapters.safetensors, adapter_config.json, metrics.jsonl, run.json and, native
// only, best_adapters.safetensors. Nothing is written before model and data are known to be good. Errors: those of loading; kIo when the
// folder cannot be written (before training); kBadData for a non-finite loss or a compat batch without supervised tokens (the last saved adapter
// stays); kInterrupted when stopped (the adapter of the last finished step is saved, run.json says "interrupted").
Result<TrainResult> run_training(const TrainRequest& request, FileSystem& files, TrainObserver& observer, const TrainControl& control = {});

// The plan that run_training would make: everything up to the first step, nothing written.
Result<TrainPlan> plan_training(const TrainRequest& request, FileSystem& files, TrainObserver& observer);

}  // namespace evolora
