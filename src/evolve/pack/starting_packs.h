// The kernel packs that a search can start from: examples/packs/TARGET/NAME, embedded when the program is built.
#pragma once

#include <string>
#include <vector>

#include "evolve/pack/pack_change.h"

namespace evolora {

struct StartingPack {
  std::string target;  // "cpu", "mlx"
  std::string name;    // "lora_linear_forward"
  PackSources files;   // pack.json and what it names
};

// By target, then name.
const std::vector<StartingPack>& starting_packs();

}  // namespace evolora
