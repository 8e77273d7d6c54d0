// The forward and backward of one transformer block, written once over the kernel slots. Used by training, loss, logits and decoding programs.
#pragma once

#include <cstdint>

#include "engine/program.h"
#include "engine/recipe.h"
#include "model/adapter.h"
#include "model/weights.h"

namespace evolora {

// Where the hidden states entering the first adapted block come from.
enum class PrefixUse {
  kCompute,
  kStore,  // computed, and given to Bindings::prefix
  kLoad,   // taken from Bindings::prefix
};

// Everything a program is built from. Borrowed; outlives the program.
struct ProgramInputs {
  const ModelWeights& weights;
  const AdapterSet* adapters;  // null: base model only
  const Recipe& recipe;
  const KernelTable& kernels;
  int threads;
  const Batch& batch;                 // shapes and segment lengths only
  Bindings planning_bindings;         // segments (and cache lengths) for workspace sizes
  bool apply_dropout = false;         // adapter dropout in forward and backward
  bool use_cache = false;             // keys and values go to Bindings::key_cache / value_cache instead of the arena
  bool supervised_rows_only = false;  // after its attention, the last block goes on with Batch::loss_rows alone (supervised_rows.h)
  PrefixUse prefix = PrefixUse::kCompute;
};

// What a block's forward pass makes, of N tokens and of the M rows that go on after attention: all of them, but in the last block with
// ProgramInputs::supervised_rows_only. As saved for the backward pass, h_in, v, o_in, h_mid, gate and up may be bf16 (Recipe::saved_activations).
struct BlockBuffers {
  BufferId h_in = kNoBuffer;  // (N, D) residual stream entering the block
  BufferId q = kNoBuffer;     // (N, H*C) after rope
  BufferId k = kNoBuffer;     // (N, G*C) after rope
  BufferId v = kNoBuffer;
  BufferId attention = kNoBuffer;  // (N, H*C); not saved
  BufferId lse = kNoBuffer;        // (N, H)
  BufferId o_in = kNoBuffer;       // (M, H*C) attention's rows that go on
  BufferId h_mid = kNoBuffer;      // (M, D) after the attention residual
  BufferId gate = kNoBuffer;       // (M, I)
  BufferId up = kNoBuffer;
  std::array<BufferId, kProjectionCount> xa = {kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer, kNoBuffer};  // (N or M, r)
};

// The residual stream as the previous block leaves it: base + delta (delta kNoBuffer: base alone).
struct ResidualStream {
  BufferId base = kNoBuffer;
  BufferId delta = kNoBuffer;
};

class LayerProgram {
 public:
  LayerProgram(ProgramBuilder& builder, const ProgramInputs& inputs) : builder_(builder), inputs_(inputs), rows_(inputs.batch.token_count()) {}

  // Embedding lookup: the stream entering block 0.
  ResidualStream embed();
  // The stream entering the first adapted block, from the prefix cache; or given to it.
  ResidualStream load_prefix();
  void store_prefix(BufferId hidden);

  struct Forward {
    BlockBuffers saved;     // what backward will take; empty if nothing is to be saved
    ResidualStream stream;  // after the block
  };
  // Emits block `layer`. save: a backward pass of it follows.
  Forward forward(std::int64_t layer, ResidualStream stream, bool save);
  // base + delta in one buffer.
  BufferId materialize(ResidualStream stream);

  // Rows of the stream that the block emitted last leaves: N or M.
  std::int64_t rows() const { return rows_; }

  // Emits the backward of block `layer`. d_hidden (M, D) holds d(loss)/d(h_mid + down), which is overwritten. Returns d(loss)/d(h_in) (N, D), the
  // same buffer where M = N; if lowest, nothing below the block learns: work stops at the lowest adapter in it and what is returned is undefined.
  BufferId backward(std::int64_t layer, const BlockBuffers& saved, BufferId d_hidden, bool lowest);

 private:
  struct Group;  // projections that share an input

  bool picks_rows(std::int64_t layer) const { return inputs_.supervised_rows_only && layer == spec().num_layers - 1; }
  const ModelSpec& spec() const { return inputs_.weights.spec(); }
  const AdapterModule* adapter(std::int64_t layer, Projection projection) const;
  bool any_adapter(std::int64_t layer, std::initializer_list<Projection> projections) const;

  // Everything up to gate and up. saved, if not null, gets what the recipe keeps of it.
  BlockBuffers forward_to_mlp(std::int64_t layer, ResidualStream stream, BlockBuffers* saved);
  void gate_and_up(std::int64_t layer, BufferId x2, BlockBuffers& block);
  bool keeps_bf16() const { return inputs_.recipe.saved_activations == StorageType::kBf16; }
  BufferId keep(std::int64_t layer, BufferId x, std::int64_t count);           // so many elements as they wait for the backward pass
  BufferId take(std::int64_t layer, BufferId kept, std::int64_t count);        // and back
  BufferId pick(std::int64_t layer, BufferId x, std::int64_t width);           // (N, width) -> (M, width): the supervised rows
  BufferId place(std::int64_t layer, BufferId picked, std::int64_t width);     // and back; the other rows are zero
  void activate(std::int64_t layer, const BlockBuffers& block, BufferId act);  // silu(gate) * up
  void norm(std::int64_t layer, BufferId x, BufferId residual, const float* weight, BufferId sum, BufferId y);
  void norm_backward(std::int64_t layer, BufferId dy, BufferId x, const float* weight, BufferId d_hidden);
  void rope(std::int64_t layer, Pass pass, BufferId q, BufferId k);
  // Keys or values as attention reads them: x itself, or a copy in which every segment has the shared rows.
  BufferId keys_of_all(std::int64_t layer, Pass pass, BufferId x);
  void attend(std::int64_t layer, BlockBuffers& block);
  void attend_backward(std::int64_t layer, const BlockBuffers& block, BufferId d_out, BufferId dq, BufferId dk, BufferId dv);
  void linear(std::int64_t layer, const Group& group, BufferId x, BlockBuffers& block);
  void linear_backward(std::int64_t layer, const Group& group, BufferId x, const BlockBuffers& block, BufferId dx);

  ProgramBuilder& builder_;
  const ProgramInputs& inputs_;
  std::int64_t rows_;  // of the buffers that calls are emitted for
};

}  // namespace evolora
