// Recipes and genomes say the same, and the halves of a data folder share nothing.
#include "evolve/recipe_space.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "engine/recipe_json.h"
#include "evolve/data_halves.h"
#include "evolve/gene_moves.h"

namespace evolora {
namespace {

Recipe recipe_of(const Genome& genome) {
  const auto choices = recipe_from_json(recipe_json_of(genome), "genome");
  CHECK(choices.ok());
  return with_choices(Recipe(), *choices);
}

TEST(RecipeSpace, EveryGenomeIsARecipeAndComesBack) {
  for (const KernelGenes kernels : {KernelGenes::kNone, KernelGenes::kSlots}) {
    const GeneSpace space = recipe_space(4, kernels);
    for (std::uint64_t i = 0; i < 300; ++i) {
      Random random(1, i);
      const Genome genome = random_genome(space, random).value();
      EXPECT_EQ(genome_of(space, recipe_of(genome)).value(), genome);
      EXPECT_EQ(recipe_cell(genome).size(), 3U);
    }
  }
}

TEST(RecipeSpace, KeptGenesHaveNoOtherValue) {
  GeneSpace space = recipe_space(2, KernelGenes::kNone);
  const Genome start = genome_of(space, plain_recipe()).value();
  keep_values(space, inexact_recipe_genes(), start);
  EXPECT_EQ(space.canonical(start).value(), start);
  Genome current = start;
  for (std::uint64_t i = 0; i < 300; ++i) {
    Random random(2, i);
    const Genome other = random_genome(space, random).value();
    current = mutate(space, crossover(space, current, other, random).value(), random).value();
    for (const std::string& gene : inexact_recipe_genes()) {
      EXPECT_EQ(other.at(gene), start.at(gene));
      EXPECT_EQ(current.at(gene), start.at(gene));
    }
  }
  EXPECT_NE(current, start);
}

TEST(RecipeSpace, PlainRecipeIsAGenomeAndOthersAreRefused) {
  const GeneSpace space = recipe_space(2, KernelGenes::kNone);
  EXPECT_EQ(recipe_of(genome_of(space, plain_recipe()).value()), plain_recipe());
  Recipe recipe;
  recipe.kernels.set(Slot::kSwiglu, KernelSet::kReference);
  const auto refused = genome_of(space, recipe);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("kernels.swiglu"), std::string::npos) << refused.error().message;
}

TEST(DataHalves, ShareNothingLoseNothing) {
  const TestFolder folder;
  FileSystem& files = real_file_system();
  ASSERT_TRUE(files.create_directories(folder / "data").ok());
  std::string text;
  for (int i = 0; i < 40; ++i) text += "{\"text\": \"" + std::to_string(i) + "\"}\n";
  write_test_file(folder / "data/train.jsonl", text + "\n");
  ASSERT_TRUE(write_data_halves(files, folder / "data", folder / "out", 4).ok());
  const std::string search = files.read(folder / "out/search/train.jsonl").value();
  const std::string confirm = files.read(folder / "out/confirm/train.jsonl").value();
  EXPECT_EQ(search.size() + confirm.size(), text.size());
  for (int i = 0; i < 40; ++i) {
    const std::string line = "{\"text\": \"" + std::to_string(i) + "\"}\n";
    EXPECT_NE(search.find(line) == std::string::npos, confirm.find(line) == std::string::npos) << line;
  }
  const auto few = write_data_halves(files, folder / "data", folder / "out", 30);
  ASSERT_FALSE(few.ok());
  EXPECT_EQ(few.error().code, ErrorCode::kBadData);
}

}  // namespace
}  // namespace evolora
