// The prefix cache: hidden states below the first adapter, kept per sample from their first computation on. Nothing below the first adapter learns or
// is random, so what is taken from here is bit by bit what would be computed (as in Skip2-LoRA, arXiv 2410.21073, whose cache is this one).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/scratch_file.h"
#include "engine/program.h"

namespace evolora {

// Holds rows of (hidden_size) fp32 for the samples named in Batch::segment_samples. Not thread-safe.
class PrefixStore final : public PrefixRows {
 public:
  static PrefixStore in_memory(std::int64_t hidden_size);
  static Result<PrefixStore> in_file(const fs::path& folder, std::int64_t hidden_size);

  // Whether it makes sense at all: every segment has a sample's number, and the hidden states do not depend on the company a sample is computed in.
  // They would in a pass of a handful of rows, which has kernels of its own (kFewRows): kept from there, they would differ in the last bits from run
  // to run.
  static bool can_hold(const Batch& batch);
  bool accepts(const Batch& batch) const;  // can_hold, and the store still works
  bool covers(const Batch& batch) const;   // accepts, and has at least as many tokens of every sample
  void load(const Batch& batch, float* hidden) override;
  void store(const Batch& batch, const float* hidden) override;

  std::uint64_t stored_bytes() const { return floats_ * sizeof(float); }
  const Status& status() const { return status_; }  // the first error of the file; after it nothing is stored or taken any more

 private:
  struct Entry {
    std::uint64_t offset = 0;  // in floats
    std::int64_t tokens = 0;
  };
  explicit PrefixStore(std::int64_t hidden_size) : hidden_size_(hidden_size) {}
  void append(std::span<const float> rows);

  std::int64_t hidden_size_;
  std::optional<ScratchFile> file_;  // none: memory_
  std::vector<float> memory_;
  std::uint64_t floats_ = 0;
  std::unordered_map<std::int64_t, Entry> entries_;  // by sample
  Status status_;
};

}  // namespace evolora
