// The gates numerics and determinism for packs on MLX: hidden problems over all bits, groups and types, forward and backward.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evolve/judge/mlx/mlx_runner.h"

namespace evolora {

// What a pack for slot dora_linear (or lora_linear) must compute, for this seed: each weight format and type once, odd sizes, with and without bias;
// in fp32 also large, tiny and zero values.
std::vector<MlxProblemShape> mlx_numerics_shapes(bool dora, std::uint64_t seed);

struct MlxGateResult {
  bool passed = false;
  std::string gate;    // the last: "numerics" or "determinism"
  std::string reason;  // one line; empty if passed
  int calls = 0;
};

// Every shape with two contents, one after the other in the same process, so that results kept by shape or address are wrong, and each content twice,
// the second time after the other content, with the same bits. Errors: the judge's own failures.
Result<MlxGateResult> judge_mlx_numerics(MlxRunner& runner, bool dora, std::uint64_t seed);

}  // namespace evolora
