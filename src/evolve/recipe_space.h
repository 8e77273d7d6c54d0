// Recipes as genomes: every recipe field that the fused engine heeds is a gene. Settings that change which samples share an update (packing, batch
// size) are not recipes and not here.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/recipe.h"
#include "evolve/gene.h"

namespace evolora {

enum class KernelGenes {
  kNone,   // all slots run the cpu kernels
  kSlots,  // a gene "kernels.SLOT" each: cpu or reference. Legal and silly: a search with a known answer
};

// max_threads >= 1. Genes: threads; recompute; saved_activations; batch ("whole", "split") with micro_batch_tokens; head_chunk ("chosen", "fixed")
// with head_rows_per_chunk; prefix_cache; share_prefixes; forward_arithmetic; backward_arithmetic; weights.
GeneSpace recipe_space(int max_threads, KernelGenes kernels);

// Leaves those of the genes no other value than the genome's. They are choices of the space and in the genome.
void keep_values(GeneSpace& space, const std::vector<std::string>& genes, const Genome& genome);

// What `train --recipe` reads. genome is canonical in that space.
nlohmann::ordered_json recipe_json_of(const Genome& genome);
// The genome of a recipe, canonical; numbers outside a gene's range become the nearest. kUsage for what has no gene: kernels of slots in a space
// without kernel genes, settings of the MLX engine.
Result<Genome> genome_of(const GeneSpace& space, const Recipe& recipe);

// A recipe as a first version would have it: one thread, everything recomputed, micro-batches of 128 tokens, small head chunks, fp32 everywhere.
Recipe plain_recipe();

// The genes of it that change what is computed: arithmetic.
std::vector<std::string> inexact_recipe_genes();

// MAP-Elites bins of a recipe: arithmetic (forward + 3 x backward), recompute, head chunk (chosen, then up to 16, 64, 256, more rows); the judge adds
// the working set.
std::vector<int> recipe_cell(const Genome& genome);

}  // namespace evolora
