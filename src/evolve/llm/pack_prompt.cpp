// The rules in words, then the interface.
#include "evolve/llm/pack_prompt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "kernels/pack/pack_compiler.h"
#include "kernels/pack/pack_rules.h"

namespace evolora {

std::string pack_objective(const PackManifest& manifest) {
  return fmt::format(
      R"(The program is C++20 source of a kernel that trains language models with LoRA on a CPU: {}. It is compiled with
{}
and called from several threads. Higher is better: the lower confidence bound of log(time of the start's kernel / time of the program's kernel),
over the linears of a real model.
- Results must agree with the reference within the rounding of fp32 for every weight format and for odd sizes, and must be the same bits for any number of threads.
- Only arithmetic: no files, clocks, threads of its own, exceptions, allocation, inline assembler or state that outlives a call. Headers: {}.
- A line such as "constexpr int kTileRows = 6;  // evolve: int 1..12" declares a parameter that is tuned by others; keep such lines, or change number and range
  with care. "evolve: choice 1,2,4" and "evolve: bool" are the other forms.

evolora_pack.h:

{})",
      fmt::join(manifest.slots, " and "), fmt::join(pack_compiler_flags(), " "), fmt::join(pack_headers(manifest.target), " "), pack_header_text());
}

}  // namespace evolora
