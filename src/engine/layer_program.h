// The forward and backward of one transformer block, written once over the kernel slots. Used by training, loss, logits and decoding programs.
#pragma once

#include <cstdint>

#include "engine/program.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// Everything a program is built from. Borrowed; outlives the program.
struct ProgramInputs {
  const ModelWeights& weights;
  const AdapterSet* adapters;  // null: base model only
  const KernelTable& kernels;
  int threads;
  const Batch& batch;          // shapes and segment lengths only
  Bindings planning_bindings;  // segments (and cache lengths) for workspace sizes
  bool apply_dropout = false;  // adapter dropout in forward and backward
  bool use_cache = false;      // keys and values go to Bindings::key_cache / value_cache instead of the arena
};

// What the backward pass of a block needs from its forward pass, and what the next block takes.
struct BlockBuffers {
  BufferId h_in = kNoBuffer;  // (N, D) residual stream entering the block
  BufferId q = kNoBuffer;     // (N, H*C) after rope
  BufferId k = kNoBuffer;     // (N, G*C) after rope
  BufferId v = kNoBuffer;
  BufferId attention = kNoBuffer;  // (N, H*C)
  BufferId lse = kNoBuffer;        // (N, H)
  BufferId h_mid = kNoBuffer;      // (N, D) after the attention residual
  BufferId gate = kNoBuffer;       // (N, I)
  BufferId up = kNoBuffer;
  BufferId down = kNoBuffer;  // (N, D) the MLP's output: the next residual stream is h_mid + down
  std::array<BufferId, kProjectionCount> xa = {kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer};  // (N, r)
};

// The residual stream as the previous block leaves it: base + delta (delta kNoBuffer: base alone).
struct ResidualStream {
  BufferId base = kNoBuffer;
  BufferId delta = kNoBuffer;
};

class LayerProgram {
 public:
  LayerProgram(ProgramBuilder& builder, const ProgramInputs& inputs) : builder_(builder), inputs_(inputs) {}

  // Embedding lookup: the stream entering block 0.
  ResidualStream embed();
  // Emits block `layer`; returns its buffers. The stream after it is {h_mid, down}.
  BlockBuffers forward(std::int64_t layer, ResidualStream stream);
  // What backward needs of a checkpointed block, computed again from first.h_in. The block's output is not (down's xa is kept from the first pass).
  BlockBuffers recompute(std::int64_t layer, const BlockBuffers& first);
  // base + delta in one buffer.
  BufferId materialize(ResidualStream stream);

  // Emits the backward of block `layer`. d_hidden (N, D) holds d(loss)/d(h_mid + down) and is turned in place into d(loss)/d(h_in);
  // if lowest, nothing below the block learns: work stops at the lowest adapter in it and d_hidden ends undefined.
  void backward(std::int64_t layer, const BlockBuffers& saved, BufferId d_hidden, bool lowest);

 private:
  struct Group;  // projections that share an input

  std::int64_t rows() const { return inputs_.batch.token_count(); }
  const ModelSpec& spec() const { return inputs_.weights.spec(); }
  const AdapterModule* adapter(std::int64_t layer, Projection projection) const;
  bool any_adapter(std::int64_t layer, std::initializer_list<Projection> projections) const;

  BlockBuffers forward_to_mlp(std::int64_t layer, ResidualStream stream);      // everything up to gate and up
  void activate(std::int64_t layer, const BlockBuffers& block, BufferId act);  // silu(gate) * up
  void norm(std::int64_t layer, BufferId x, BufferId residual, const float* weight, BufferId sum, BufferId y);
  void norm_backward(std::int64_t layer, BufferId dy, BufferId x, const float* weight, BufferId d_hidden);
  void rope(std::int64_t layer, Pass pass, BufferId q, BufferId k);
  void attend(std::int64_t layer, BlockBuffers& block);
  void attend_backward(std::int64_t layer, const BlockBuffers& block, BufferId d_out, BufferId dq, BufferId dk, BufferId dv);
  void linear(std::int64_t layer, const Group& group, BufferId x, BlockBuffers& block);
  void linear_backward(std::int64_t layer, const Group& group, BufferId x, const BlockBuffers& block, BufferId dx);

  ProgramBuilder& builder_;
  const ProgramInputs& inputs_;
};

}  // namespace evolora
