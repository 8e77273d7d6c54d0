// The slots of packs on MLX by the kind of adapter that they serve; the kind is a bool everywhere in this folder.
#pragma once

#include <vector>

#include "kernels/pack/pack_folder.h"

namespace evolora {

inline const char* mlx_slot(bool dora) { return dora ? "dora_linear" : "lora_linear"; }
// As the training setting has it.
inline const char* fine_tune_type(bool dora) { return dora ? "dora" : "lora"; }

// Of the kinds that the pack serves, in this order: not DoRA, DoRA.
inline std::vector<bool> served_kinds(const PackManifest& manifest) {
  std::vector<bool> kinds;
  for (const bool dora : {false, true}) {
    if (manifest.serves(mlx_slot(dora))) kinds.push_back(dora);
  }
  return kinds;
}

}  // namespace evolora
