// One lora_linear call in memory that a worker shares: a file of inputs, which the worker can only read, and a file of outputs. Every array ends at a
// page that nobody may touch, as near as its alignment and the layout allow; outputs lie between canaries.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "evolve/judge/lora_problem.h"
#include "evolve/judge/shared_memory.h"

namespace evolora {

// Not thread-safe. Movable only before its first use.
class SharedCall {
 public:
  // Capacities are rounded up to pages; pages count as used memory when they are touched first. layout: 0, or a seed that moves every array, and the
  // workspace, up to a page away from where it would lie: which addresses collide in a cache is then drawn anew with every seed. Reading a little
  // past an array is not seen then, so gates that look for it pass 0.
  static Result<SharedCall> create(std::size_t input_bytes, std::size_t output_bytes, std::uint64_t layout);

  const SharedMemory& memory() const { return memory_; }

  // Writes the call and all arrays: inputs, and outputs as they are in `outputs` (NaN, or what gradients start from). Calls of one shape and
  // direction have the same layout, so a worker that prepared one need not prepare the next. kTooLarge: it does not fit.
  Status place(LoraDirection direction, const LoraProblem& problem, const LoraOutputs& outputs);

  // Nothing, or what was touched that must not be: canaries, inputs.
  std::optional<std::string> violation(const LoraProblem& problem) const;
  // Copies what the call wrote.
  void fetch(LoraOutputs& outputs) const;

 private:
  struct Array {
    std::uint64_t offset;
    std::uint64_t bytes;
    std::uint64_t slot_begin, slot_end;
  };
  struct OutputArray {
    Array array;
    std::vector<float> LoraOutputs::Projection::*member;  // null: dx
    std::size_t projection;
  };
  struct InputArray {
    Array array;
    const void* from;
  };
  SharedCall(SharedMemory memory, std::uint64_t layout) : memory_(std::move(memory)), layout_(layout) {}
  // Of the next array, or of the workspace behind the last.
  std::size_t slack_bytes() const;
  std::uint64_t input(const void* from, std::size_t bytes, std::size_t alignment);
  std::uint64_t output(const std::vector<float>& from, std::size_t projection, std::vector<float> LoraOutputs::Projection::*member);
  std::optional<Array> take(std::size_t bytes, std::size_t alignment, bool is_output);

  SharedMemory memory_;
  std::uint64_t layout_;
  std::size_t next_input_ = 0;
  std::size_t next_output_ = 0;
  bool full_ = false;
  std::vector<InputArray> input_arrays_;
  std::vector<OutputArray> output_arrays_;
  std::vector<std::uint64_t> input_fences_, output_fences_;
};

}  // namespace evolora
