// A recipe: the decisions that change speed or memory and not the result, or change it within a stated tolerance (DESIGN section 4).
// As a file it is JSON (recipe_json.h); where nobody decided, recipe_planner.h does.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "engine/mlx_recipe.h"
#include "kernels/arithmetic.h"
#include "kernels/pack/pack_library.h"
#include "kernels/slots.h"

namespace evolora {

// What the backward pass computes again instead of finding it saved.
enum class Recompute {
  kNothing,
  kMlp,    // gate and up, from h_mid: half of the memory for a fifth more arithmetic
  kBlock,  // everything but a block's input: mlx-lm's grad_checkpoint
};

// How activations wait for the backward pass. bf16: h_in, v, attention, h_mid, gate and up are rounded to 8 bits of mantissa (relative 2^-9); q and k
// stay fp32, because what is wrong in them goes through an exponential.
enum class StorageType { kFp32, kBf16 };

// Where the hidden states below the first adapter are kept from their first computation on. They never change, so the result is the same bit by bit.
enum class PrefixCache { kOff, kMemory, kFile };

// A kernel pack: the folder that a recipe names, and the library once somebody has opened it (kernels/pack/pack_compiler.h). A step needs it opened.
struct PackChoice {
  std::string folder;  // empty: no pack
  std::shared_ptr<const PackLibrary> library;
  // Of a pack for mlx, which only the MLX engine's module can load: the compiled file, and the name that records give it. Empty: not compiled yet.
  std::string mlx_library;
  std::string mlx_name;

  bool operator==(const PackChoice& other) const { return folder == other.folder; }
};

struct Recipe {
  int threads = 0;  // <= 0: all CPUs the process may use
  SlotKernels kernels = KernelSet::kCpu;
  PackChoice pack;  // fills the slots it has in place of `kernels`
  Recompute recompute = Recompute::kNothing;
  StorageType saved_activations = StorageType::kFp32;
  std::int64_t micro_batch_tokens = 0;   // split a batch into passes of at most this many tokens (whole segments); <= 0: no split
  std::int64_t head_rows_per_chunk = 0;  // rows of logits alive at a time; <= 0: chosen from the vocabulary size
  PrefixCache prefix_cache = PrefixCache::kOff;
  // What all samples of a pass begin with, where nothing of it is learned (a system prompt, an instruction), is computed once for all of them. The
  // same gradients up to the order of sums (and a bf16 backward pass's rounding); nothing is shared where adapters have dropout.
  bool share_prefixes = false;
  // Of the products with base weights in the blocks (kernels/arithmetic.h): x W^T, also where it is recomputed and in evaluation, and dy W. Adapters,
  // head, attention and everything else stay fp32. Changes losses and gradients by its rounding, so it is never chosen by the planner.
  Arithmetic forward_arithmetic = Arithmetic::kFp32;
  Arithmetic backward_arithmetic = Arithmetic::kFp32;  // fp32 or bf16
  MlxRecipe mlx;                                       // of the MLX engine; of the rest it heeds recompute (nothing or block) and head_rows_per_chunk
  bool release_weights = false;  // unmap a weight's pages after each use: resident memory without the model, for page faults from the page cache

  bool operator==(const Recipe&) const = default;
};

// What somebody decided, by a flag or a file; the rest is open.
struct RecipeChoices {
  std::optional<int> threads;
  std::optional<SlotKernels> kernels;
  std::optional<PackChoice> pack;
  std::optional<Recompute> recompute;
  std::optional<StorageType> saved_activations;
  std::optional<std::int64_t> micro_batch_tokens;
  std::optional<std::int64_t> head_rows_per_chunk;
  std::optional<PrefixCache> prefix_cache;
  std::optional<bool> share_prefixes;
  std::optional<Arithmetic> forward_arithmetic;
  std::optional<Arithmetic> backward_arithmetic;
  std::optional<bool> release_weights;
  std::optional<MlxRecipe> mlx;

  bool operator==(const RecipeChoices&) const = default;
};

// The choices, and base where there is none.
Recipe with_choices(const Recipe& base, const RecipeChoices& choices);
// Both; where both decide, `stronger` does.
RecipeChoices merge_choices(const RecipeChoices& stronger, const RecipeChoices& weaker);

// Nothing wrong with these choices and the opened pack among them; no pack is fine. kUsage: a slot that the pack serves is asked from the reference
// kernels as well, or in an arithmetic other than fp32, which is all that a pack has.
Status check_pack_choice(const RecipeChoices& choices);

}  // namespace evolora
