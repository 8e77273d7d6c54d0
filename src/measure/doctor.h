// Is this machine ready, and for this model? Looks, counts, and does a short numerics self-test. Changes nothing.
#pragma once

#include <string>
#include <vector>

#include "base/file_system.h"

namespace evolora {

enum class Health { kGood, kNote, kBad };

struct Finding {
  std::string topic;  // "processor", "slot lora_linear", ...
  Health health = Health::kGood;
  std::string text;
};

struct Diagnosis {
  std::vector<Finding> findings;
  bool ready() const;  // nothing is bad
};

// model: folder, or empty: the machine only (its self-test then runs two elementwise kernels; with a model, a whole training step of its last block).
// Never fails: what cannot be read is a finding.
Diagnosis diagnose(FileSystem& files, const std::string& model);

}  // namespace evolora
