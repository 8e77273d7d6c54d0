// The rules in words, then the interface.
#include "evolve/llm/pack_prompt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "kernels/pack/pack_compiler.h"
#include "kernels/pack/pack_rules.h"

namespace evolora {
namespace {

// Puts `instead` in the place of the text from the first `begin` up to the `end` after it; what is not there stays as it is.
void replace(std::string& text, std::string_view begin, std::string_view end, std::string_view instead = "") {
  const std::size_t from = text.find(begin);
  const std::size_t to = from == std::string::npos ? from : text.find(end, from + begin.size());
  if (to != std::string::npos) text.replace(from, to - from, instead);
}

// The interface without what the author of such a kernel need not read: the arithmetic of the dropout mask, and the direction that it has not.
std::string interface_text(const PackManifest& manifest) {
  std::string text(pack_header_text());
  for (const auto& [direction, arguments] : {std::pair("forward", "/* A group of projections"), std::pair("backward", "/* dx (n, in) =")}) {
    if (manifest.serves(fmt::format("lora_linear_{}", direction))) continue;
    replace(text, arguments, "\n\n", fmt::format("typedef struct evolora_lora_linear_{0}_args evolora_lora_linear_{0}_args;", direction));
    replace(text, fmt::format("EVOLORA_PACK_EXPORT void evolora_lora_linear_{}(", direction), "\n");
    replace(text, fmt::format("EVOLORA_PACK_EXPORT size_t evolora_lora_linear_{}_workspace_bytes(", direction), "\n");
  }
  replace(text, "  uint32_t c[4]", "}\n\n#ifdef", "  /* ... */\n");
  return text;
}

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
      interface_text(manifest));
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
