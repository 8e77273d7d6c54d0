// Candidates of a search over the source of a kernel pack. Their genes are the parameters that their own sources declare, so a candidate with other
// code may have other genes. A genome goes before the numbers that stand in the sources: offline proposers change it and leave the text alone.
#pragma once

#include <string>

#include "evolve/candidate.h"
#include "evolve/pack/pack_change.h"
#include "kernels/pack/pack_folder.h"

namespace evolora {

// The pack as it is. kBadData: no block, so nothing may change; declarations that pack_parameters refuses.
Result<Candidate> start_of_pack(const KernelPack& pack);

// Errors: those of pack_parameters.
Result<GeneSpace> genes_of_program(const Candidate& candidate);
// The text that is compiled: the sources with the genome's values. Errors: those of with_parameters.
Result<PackSources> program_of(const Candidate& candidate);
// The same for candidates whose programs differ in comments and white space only. Errors: those of program_of and novelty_digest.
Result<std::string> program_digest(const Candidate& candidate);

// What was not changed follows: numbers in the sources and genome agree in what is returned. Errors reject the proposal; their message begins with a
// word and a colon:
//   outside_block  the sources differ from the start's outside its blocks
//   bad_genome     parameters that are declared wrongly or have values that their declarations do not allow
Result<Candidate> agreed(const PackSources& start, const Candidate& candidate, Changed changed);

}  // namespace evolora
