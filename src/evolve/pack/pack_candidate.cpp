// Parameters in, parameters out.
#include "evolve/pack/pack_candidate.h"

#include <fmt/format.h>

#include "evolve/pack/marked_blocks.h"
#include "evolve/pack/pack_parameters.h"

namespace evolora {

Result<Candidate> start_of_pack(const KernelPack& pack) {
  std::size_t blocks = 0;
  for (const auto& [name, text] : pack.sources) blocks += TRY(marked_blocks(text, name)).size();
  if (blocks == 0) {
    return Error{ErrorCode::kBadData,
                 fmt::format("kernel pack '{}': expected a block between {} and {} in one of its files, got none: nothing may change",
                             pack.manifest.name, kBlockStart, kBlockEnd)};
  }
  const std::vector<PackParameter> parameters = TRY(pack_parameters(pack.sources));
  return Candidate{.genome = pack_genome(parameters), .sources = pack.sources};
}

Result<GeneSpace> genes_of_program(const Candidate& candidate) {
  const std::vector<PackParameter> parameters = TRY(pack_parameters(candidate.sources));
  return pack_gene_space(parameters);
}

Result<PackSources> program_of(const Candidate& candidate) { return with_parameters(candidate.sources, candidate.genome); }

Result<std::string> program_digest(const Candidate& candidate) {
  const PackSources program = TRY(program_of(candidate));
  return novelty_digest(program);
}

Result<Candidate> agreed(const PackSources& start, const Candidate& candidate, Changed changed) {
  const auto refused = [](const char* word, const Error& why) { return Error{ErrorCode::kBadData, fmt::format("{}: {}", word, why.message)}; };
  if (const Status allowed = check_change(start, candidate.sources); !allowed.ok()) return refused("outside_block", allowed.error());
  Candidate out = candidate;
  if (changed == Changed::kGenome) {
    auto program = program_of(candidate);
    if (!program.ok()) return refused("bad_genome", program.error());
    out.sources = std::move(*program);
    return out;
  }
  const auto parameters = pack_parameters(candidate.sources);
  if (!parameters.ok()) return refused("bad_genome", parameters.error());
  out.genome = pack_genome(*parameters);
  return out;
}

}  // namespace evolora
