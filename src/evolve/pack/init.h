// `evolve init`: a folder to start a search of kernels in.
#pragma once

#include <string>

#include "base/file_system.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

struct EvolveFolderRequest {
  std::string target = "cpu";
  std::string slot;   // name of a starting pack; for cpu "lora_linear" is lora_linear_group, which serves both directions
  std::string model;  // for the commands in the README; empty: a word in its place
  std::string data;
};

// Writes folder/pack (the starting pack), folder/recipe.json (what train --recipe takes to run it), folder/evolve.yaml (settings of a search with a
// language model) and folder/README.md (the commands, what may change, the parameters). kUsage: an unknown target or slot, with what there is; a
// folder that exists and is not empty. kIo.
Status init_evolve_folder(FileSystem& files, const fs::path& folder, const EvolveFolderRequest& request);

// What `train` needs for a pack besides --recipe: engine and kind of adapter of one for mlx; empty for all others.
std::string training_flags(const PackManifest& manifest);

}  // namespace evolora
