// What `evolve init` writes is a pack that compiles, whose parameters can be set, and a recipe that names it.
#include "evolve/pack/init.h"

#include <gtest/gtest.h>

#include "base/test_folder.h"
#include "evolve/pack/pack_parameters.h"
#include "evolve/pack/starting_packs.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {
namespace {

TEST(EvolveInit, EveryStartingPackBecomesAFolder) {
  TestFolder scratch;
  FileSystem& files = real_file_system();
  ASSERT_GE(starting_packs().size(), 2u);
  for (const StartingPack& starting : starting_packs()) {
    SCOPED_TRACE(starting.name);
    const fs::path folder = scratch / starting.name;
    const Status status = init_evolve_folder(files, folder, {.target = starting.target, .slot = starting.name, .model = "models/m", .data = "d"});
    ASSERT_TRUE(status.ok()) << status.error().message;
    // What was embedded is what stands in the source tree.
    for (const auto& [name, text] : starting.files) {
      EXPECT_EQ(files.read(folder / "pack" / name).value(),
                files.read(fs::path(EVOLORA_SOURCE_DIR) / "examples/packs" / starting.target / starting.name / name).value());
    }
    const auto pack = read_pack(files, folder / "pack");
    ASSERT_TRUE(pack.ok()) << pack.error().message;
    EXPECT_EQ(pack->manifest.name, starting.name);
    const auto parameters = pack_parameters(pack->sources);
    ASSERT_TRUE(parameters.ok()) << parameters.error().message;
    const bool mlx = starting.target == "mlx";
    EXPECT_GE(parameters->size(), mlx ? 1u : 3u);  // graphs have no sizes of tiles
    EXPECT_EQ(with_parameters(pack->sources, pack_genome(*parameters)).value(), pack->sources);
    EXPECT_EQ(files.read(folder / "recipe.json").value(), "{\"pack\": \"pack\"}\n");
    const std::string readme = files.read(folder / "README.md").value();
    const std::string folder_name = folder.string();
    for (const std::string& part :
         {"evolora evolve run --pack " + folder_name + "/pack --kernels-only", std::string("--model models/m --data d"),
          "evolora judge " + folder_name + "/pack/" + pack->manifest.files.front() + " --pack " + folder_name + "/pack\n",
          std::string(mlx ? "train --train --engine mlx --fine-tune-type " : "train --train --model "), "| " + parameters->front().gene.name + " | ",
          "`" + pack->manifest.files.front() + "`", std::string(mlx ? "`evolora_mlx_pack.h`" : "`evolora_pack.h`")}) {
      EXPECT_NE(readme.find(part), std::string::npos) << part << "\n" << readme;
    }
  }
}

TEST(EvolveInit, LoraLinearIsTheGroupAndOtherWordsAreRefused) {
  TestFolder scratch;
  FileSystem& files = real_file_system();
  const auto error = [&](const EvolveFolderRequest& request) { return init_evolve_folder(files, scratch / "new", request).error().message; };
  EXPECT_TRUE(error({.target = "gpu", .slot = "lora_linear"}).starts_with("--target: expected cpu or mlx"))
      << error({.target = "gpu", .slot = "lora_linear"});
  EXPECT_NE(error({.slot = "lora_linear_forwrd"}).find("did you mean 'lora_linear_forward'?"), std::string::npos);
  EXPECT_FALSE(files.exists(scratch / "new"));
}

TEST(EvolveInit, AFolderWithFilesStaysAsItIs) {
  TestFolder scratch;
  FileSystem& files = real_file_system();
  ASSERT_TRUE(write_file_atomically(files, scratch / "mine", "text").ok());
  const Status status = init_evolve_folder(files, scratch.path(), {.slot = "lora_linear_forward"});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("expected a new or empty folder"), std::string::npos);
  EXPECT_EQ(files.list(scratch.path())->size(), 1u);
}

}  // namespace
}  // namespace evolora
