// The kernel slots by name: what a step is made of, and what a recipe fills with one implementation or another.
#pragma once

#include <array>
#include <cstddef>

namespace evolora {

enum class Slot : int { kEmbedding, kRmsNorm, kLoraLinear, kRope, kAttention, kSwiglu, kHeadLoss, kStorage, kOptimizerUpdate };
inline constexpr int kSlotCount = 9;
const char* slot_name(Slot slot);  // "rms_norm"

enum class KernelSet { kReference, kCpu };

// Which implementation fills each slot.
class SlotKernels {
 public:
  SlotKernels(KernelSet all) { sets_.fill(all); }  // NOLINT(google-explicit-constructor): one set for all is the usual case
  KernelSet of(Slot slot) const { return sets_[static_cast<std::size_t>(slot)]; }
  void set(Slot slot, KernelSet kernels) { sets_[static_cast<std::size_t>(slot)] = kernels; }
  bool operator==(const SlotKernels&) const = default;

 private:
  std::array<KernelSet, kSlotCount> sets_;
};

}  // namespace evolora
