// What is kept of a trial: one line of samples.jsonl, from which alone a verdict can be computed again.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json.hpp>

#include "measure/verdict.h"

namespace evolora {

enum class ArmRole { kBaseline, kCandidate };
const char* word(ArmRole role);

enum class TrialStatus {
  kOk,
  kInvalid,      // it ran and did not do what its arm says, or its report contradicts what was measured
  kFailed,       // no result: crash, timeout, nothing written
  kInterrupted,  // the user stopped it
};
const char* word(TrialStatus status);

struct TrialRecord {
  std::string plan_sha256;  // of plan.json as it was before the first trial
  ArmRole role = ArmRole::kBaseline;
  std::size_t pair = 0;     // 0: warm-up (paired design); sequential: number of the trial in its arm, from 0
  std::size_t attempt = 0;  // of the pair: higher after a resume
  bool warmup = false;
  int position = 0;  // in the pair: 0 ran first
  std::uint64_t seed = 0;
  TrialStatus status = TrialStatus::kFailed;
  std::string reason;  // of a status other than ok: a code, then the details: "candidate_not_applied: ..."

  TrialSample sample;
  double cpu_seconds = 0;
  double training_seconds = 0;    // as the child reports it; 0: not reported
  double memory_delta_bytes = 0;  // peak above what the program needs before it loads anything
  // Everything else: applied proof, digests, versions, load, faults; curves as lists of [x, y]: "train_losses" and "val_losses" over steps (of an
  // external command over its reports), "memory" in bytes over seconds.
  nlohmann::ordered_json notes;
};

nlohmann::ordered_json trial_to_json(const TrialRecord& record);
// kBadData naming source and the field.
Result<TrialRecord> trial_from_json(const nlohmann::ordered_json& json, const std::string& source);

}  // namespace evolora
