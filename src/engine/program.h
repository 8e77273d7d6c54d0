// A step program: a fixed sequence of calls to kernel slots over buffers of one arena, planned before the step. Buffers whose lifetimes do not
// overlap share memory. Building is for one batch shape; running binds the batch, the adapters' gradients and a kernel table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "engine/arena.h"
#include "kernels/kernel_table.h"

namespace evolora {

enum class Pass : int { kForward, kBackward };

using BufferId = std::uint32_t;
inline constexpr BufferId kNoBuffer = UINT32_MAX;

struct Buffer {
  const char* name = "";  // for plans and tests; static storage
  std::size_t bytes = 0;
  std::size_t offset = 0;      // in the arena
  std::size_t first_call = 0;  // lifetime: from the first to the last call that names it
  std::size_t last_call = 0;
};

// Hidden states (tokens, D) below the first adapter, kept from pass to pass (prefix_store.h).
class PrefixRows {
 public:
  virtual ~PrefixRows() = default;
  virtual void load(const Batch& batch, float* hidden) = 0;
  virtual void store(const Batch& batch, const float* hidden) = 0;
};

// What a run binds to a program. Pointers are borrowed for the run.
struct Bindings {
  const Batch* batch = nullptr;
  std::span<const AttentionSegment> segments{};
  float loss_scale = 0;
  std::uint64_t dropout_seed = 0;
  float* gradients = nullptr;  // flat, AdapterSet layout; null: no gradients
  double* loss_sum = nullptr;
  std::span<const std::int32_t> logits_rows{};
  float* logits = nullptr;
  float* key_cache = nullptr;  // (L, capacity, G*C): decoding writes new keys at past_tokens and attends to all
  float* value_cache = nullptr;
  std::int64_t cache_capacity = 0;
  std::int64_t past_tokens = 0;
  PrefixRows* prefix = nullptr;
};

// What every buffer resolves to while planning: a valid address, never read or written.
extern float planning_dummy[];

// Resolves buffers during a run. While planning there is no memory yet: every buffer resolves to a dummy, so that "present" and "absent (null)" still
// differ.
class RunContext {
 public:
  RunContext(const Bindings& bindings, std::span<const Buffer> buffers, std::byte* base) : bindings_(bindings), buffers_(buffers), base_(base) {}
  static RunContext planning(const Bindings& bindings) { return {bindings, {}, nullptr}; }

  float* f32(BufferId id) const {
    if (id == kNoBuffer) return nullptr;
    if (base_ == nullptr) return planning_dummy;
    return reinterpret_cast<float*>(base_ + buffers_[id].offset);
  }
  std::uint16_t* bf16(BufferId id) const { return reinterpret_cast<std::uint16_t*>(f32(id)); }
  const Bindings& bindings() const { return bindings_; }

 private:
  const Bindings& bindings_;
  std::span<const Buffer> buffers_;
  std::byte* base_;
};

using KernelCall = std::function<void(const RunContext&, KernelContext&)>;

struct Call {
  Slot slot;
  Pass pass;
  std::int64_t layer;  // -1: outside the blocks
  std::vector<BufferId> buffers;
  BufferId workspace = kNoBuffer;
  KernelCall run;
};

// How often each slot ran forward and backward, in all and inside each block: the proof of what a step did.
struct CallCounts {
  using Counts = std::array<std::array<std::uint64_t, 2>, kSlotCount>;
  Counts counts{};
  std::vector<Counts> layers{};    // up to the last block that ran
  AppliedArithmetic arithmetic{};  // of the products with base weights, as the kernels counted them

  // layer: of the block; -1: outside the blocks.
  void add(Slot slot, Pass pass, std::int64_t layer) {
    ++counts[static_cast<std::size_t>(slot)][static_cast<std::size_t>(pass)];
    if (layer < 0) return;
    const auto index = static_cast<std::size_t>(layer);
    if (index >= layers.size()) layers.resize(index + 1);
    ++layers[index][static_cast<std::size_t>(slot)][static_cast<std::size_t>(pass)];
  }
  std::uint64_t of(Slot slot, Pass pass) const { return counts[static_cast<std::size_t>(slot)][static_cast<std::size_t>(pass)]; }
};

struct RunOptions {
  bool poison = false;  // fill each buffer with NaN when its life begins: tests see any read of memory the plan did not promise
};

class Program {
 public:
  std::size_t arena_bytes() const { return arena_bytes_; }
  std::span<const Buffer> buffers() const { return buffers_; }
  std::span<const Call> calls() const { return calls_; }

  // Executes all calls in order. The arena must hold arena_bytes(). Returns the highest arena byte a call was given.
  std::size_t run(const Bindings& bindings, Arena& arena, Threads& threads, CallCounts& counts, const RunOptions& options) const;

 private:
  friend class ProgramBuilder;
  std::vector<Buffer> buffers_;
  std::vector<Call> calls_;
  std::size_t arena_bytes_ = 0;
};

class ProgramBuilder {
 public:
  // name must have static storage duration.
  BufferId buffer(const char* name, std::size_t bytes);
  BufferId floats(const char* name, std::int64_t count) { return buffer(name, static_cast<std::size_t>(count) * sizeof(float)); }
  BufferId halves(const char* name, std::int64_t count) { return buffer(name, static_cast<std::size_t>(count) * sizeof(std::uint16_t)); }

  // Appends a call that touches `buffers` (kNoBuffer entries are ignored) and needs workspace_bytes of scratch.
  void call(Slot slot, Pass pass, std::int64_t layer, std::vector<BufferId> buffers, std::size_t workspace_bytes, KernelCall run);

  // Gives every buffer its place. The builder is empty afterwards.
  Program finish();

 private:
  Program program_;
};

}  // namespace evolora
