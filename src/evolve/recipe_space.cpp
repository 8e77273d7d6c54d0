// Genes to recipe fields and back.
#include "evolve/recipe_space.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "engine/recipe_json.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kFewestTokens = 16;
constexpr std::int64_t kMostTokens = 16384;
constexpr std::int64_t kFewestRows = 16;
constexpr std::int64_t kMostRows = 1024;

std::string kernel_gene(Slot slot) { return fmt::format("kernels.{}", slot_name(slot)); }

// Genes that are fields of the same name and values.
const char* const kPlainFields[] = {"threads",      "recompute",      "saved_activations",  "micro_batch_tokens",  "head_rows_per_chunk",
                                    "prefix_cache", "share_prefixes", "forward_arithmetic", "backward_arithmetic", "weights"};

}  // namespace

GeneSpace recipe_space(int max_threads, KernelGenes kernels) {
  CHECK(max_threads >= 1);
  GeneSpace space;
  const auto choice = [&](const char* name, std::vector<Json> choices) {
    space.genes.push_back({.name = name, .kind = GeneKind::kChoice, .choices = std::move(choices)});
  };
  space.genes.push_back({.name = "threads", .kind = GeneKind::kInteger, .low = 1, .high = max_threads});
  choice("recompute", {"nothing", "mlp", "block"});
  choice("saved_activations", {"fp32", "bf16"});
  choice("batch", {"whole", "split"});
  space.genes.push_back({.name = "micro_batch_tokens",
                         .kind = GeneKind::kLogInteger,
                         .low = kFewestTokens,
                         .high = kMostTokens,
                         .only_if = GeneCondition{"batch", {"split"}}});
  choice("head_chunk", {"chosen", "fixed"});
  space.genes.push_back({.name = "head_rows_per_chunk",
                         .kind = GeneKind::kLogInteger,
                         .low = kFewestRows,
                         .high = kMostRows,
                         .only_if = GeneCondition{"head_chunk", {"fixed"}}});
  choice("prefix_cache", {"off", "memory"});
  choice("share_prefixes", {"off", "on"});
  choice("forward_arithmetic", {"fp32", "bf16", "int8"});
  choice("backward_arithmetic", {"fp32", "bf16"});
  choice("weights", {"resident", "released"});
  if (kernels == KernelGenes::kSlots) {
    for (int i = 0; i < kSlotCount; ++i) choice(kernel_gene(static_cast<Slot>(i)).c_str(), {"cpu", "reference"});
  }
  return space;
}

void keep_values(GeneSpace& space, const std::vector<std::string>& genes, const Genome& genome) {
  for (Gene& gene : space.genes) {
    if (std::find(genes.begin(), genes.end(), gene.name) == genes.end()) continue;
    CHECK(gene.kind == GeneKind::kChoice);
    gene.choices = {genome.at(gene.name)};
  }
}

Json recipe_json_of(const Genome& genome) {
  Json recipe = Json::object();
  for (const char* field : kPlainFields) {
    const auto value = genome.find(field);
    if (value != genome.end()) recipe[field] = value->second;
  }
  // Said, so that no planner decides it.
  if (!recipe.contains("micro_batch_tokens")) recipe["micro_batch_tokens"] = 0;
  if (!recipe.contains("head_rows_per_chunk")) recipe["head_rows_per_chunk"] = 0;
  if (!recipe.contains("share_prefixes")) recipe["share_prefixes"] = "off";  // a search from before there was this gene
  Json kernels = Json::object();
  for (int i = 0; i < kSlotCount; ++i) {
    const auto value = genome.find(kernel_gene(static_cast<Slot>(i)));
    if (value != genome.end() && value->second != "cpu") kernels[slot_name(static_cast<Slot>(i))] = value->second;
  }
  recipe["kernels"] = kernels.empty() ? Json("cpu") : kernels;
  return recipe;
}

Result<Genome> genome_of(const GeneSpace& space, const Recipe& recipe) {
  const Json fields = recipe_to_json(recipe);
  if (fields.contains("mlx")) return Error{ErrorCode::kUsage, "recipe field 'mlx': the search tunes the fused engine; leave it out"};
  Genome genome;
  for (const char* field : kPlainFields) genome[field] = fields[field];
  const Gene* threads = space.find("threads");
  CHECK(threads != nullptr);
  genome["threads"] = recipe.threads <= 0 ? threads->high : std::clamp<std::int64_t>(recipe.threads, threads->low, threads->high);
  genome["batch"] = recipe.micro_batch_tokens <= 0 || recipe.micro_batch_tokens > kMostTokens ? "whole" : "split";
  genome["micro_batch_tokens"] = std::clamp(recipe.micro_batch_tokens, kFewestTokens, kMostTokens);
  genome["head_chunk"] = recipe.head_rows_per_chunk <= 0 ? "chosen" : "fixed";
  genome["head_rows_per_chunk"] = std::clamp(recipe.head_rows_per_chunk, kFewestRows, kMostRows);
  if (genome["prefix_cache"] == "file") genome["prefix_cache"] = "off";
  for (int i = 0; i < kSlotCount; ++i) {
    const auto slot = static_cast<Slot>(i);
    const bool is_cpu = recipe.kernels.of(slot) == KernelSet::kCpu;
    if (space.find(kernel_gene(slot)) != nullptr) {
      genome[kernel_gene(slot)] = is_cpu ? "cpu" : "reference";
    } else if (!is_cpu) {
      return Error{ErrorCode::kUsage, fmt::format("recipe field 'kernels.{}': expected \"cpu\" (kernels are genes with --kernel-genes only), got "
                                                  "\"reference\"",
                                                  slot_name(slot))};
    }
  }
  return space.canonical(genome);
}

Recipe plain_recipe() {
  Recipe recipe;
  recipe.threads = 1;
  recipe.recompute = Recompute::kBlock;
  recipe.micro_batch_tokens = 128;
  recipe.head_rows_per_chunk = kFewestRows;
  return recipe;
}

std::vector<std::string> inexact_recipe_genes() { return {"forward_arithmetic", "backward_arithmetic"}; }

std::vector<int> recipe_cell(const Genome& genome) {
  const auto index = [&](const char* name, std::initializer_list<const char*> words) {
    int at = 0;
    for (const char* each : words) {
      if (genome.contains(name) && genome.at(name) == each) return at;
      ++at;
    }
    return 0;
  };
  int head = 0;
  if (genome.contains("head_rows_per_chunk")) {
    const auto rows = genome.at("head_rows_per_chunk").get<std::int64_t>();
    head = rows <= 16 ? 1 : rows <= 64 ? 2 : rows <= 256 ? 3 : 4;
  }
  return {index("forward_arithmetic", {"fp32", "bf16", "int8"}) + 3 * index("backward_arithmetic", {"fp32", "bf16"}),
          index("recompute", {"nothing", "mlp", "block"}), head};
}

}  // namespace evolora
