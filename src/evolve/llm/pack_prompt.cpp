// The rules in words, then the interface.
#include "evolve/llm/pack_prompt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/pack/pack_compiler.h"
#include "kernels/pack/pack_rules.h"

namespace evolora {
namespace {

constexpr const char* kParameters =
    R"(- A line such as "constexpr int kTileRows = 6;  // evolve: int 1..12" declares a parameter that is tuned by others; keep such lines, or change number and range
  with care. "evolve: choice 1,2,4" and "evolve: bool" are the other forms.)";

std::string cpu_objective(const PackManifest& manifest) {
  return fmt::format(
      R"(The program is C++20 source of a kernel that trains language models with LoRA on a CPU: {}. It is compiled with
{}
and called from several threads. Higher is better: the lower confidence bound of log(time of the start's kernel / time of the program's kernel),
over the linears of a real model.
- Results must agree with the reference within the rounding of fp32 for every weight format and for odd sizes, and must be the same bits for any number of threads.
- Only arithmetic: no files, clocks, threads of its own, exceptions, allocation, inline assembler or state that outlives a call. Headers: {}.
{}

evolora_pack.h:

{})",
      fmt::join(manifest.slots, " and "), fmt::join(pack_compiler_flags(), " "), fmt::join(pack_headers(manifest.target), " "), kParameters,
      pack_header_text());
}

const char* measured(Objective objective) {
  switch (objective) {
    case Objective::kSpeed: return "log(time of the start's program / time of the program)";
    case Objective::kMemory: return "log(peak memory of the start's program / peak memory of the program)";
    case Objective::kBoth: break;
  }
  return "log(start's program / program) of time and of peak memory, averaged";
}

std::string mlx_objective(const PackManifest& manifest, Objective objective) {
  return fmt::format(
      R"(The program is C++20 source on MLX's array API that trains language models with low-rank adapters: {}. Its functions build graphs, which MLX
differentiates and runs, forward and backward, over chains of the linears of a real model. Higher is better: the lower confidence bound of
{}. What is kept for the backward pass counts, linear by linear.
- Results and all gradients must agree with the reference within the rounding of the model's type, for dense weights and those of all bits and groups, in fp32, fp16 and bf16, for odd sizes,
  with and without bias; and must be the same bits in every run.
- Only graphs: nothing is evaluated, compiled at run time, read, written or kept between calls. Headers: {}.
{}

evolora_mlx_pack.h:

{})",
      fmt::join(manifest.slots, " and "), measured(objective), fmt::join(pack_headers(manifest.target), " "), kParameters,
      pack_header_text(PackTarget::kMlx));
}

}  // namespace

std::string pack_objective(const PackManifest& manifest, Objective objective) {
  return manifest.target == PackTarget::kMlx ? mlx_objective(manifest, objective) : cpu_objective(manifest);
}

}  // namespace evolora
