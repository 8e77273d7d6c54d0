// The numbers that the author of a kernel pack declares as tunable: one line each, inside a block (marked_blocks.h),
//   constexpr int kTileRows = 6;     // evolve: int 1..16           every whole number
//   constexpr int kBlock = 256;      // evolve: log 16..4096        the same, on a logarithmic scale
//   constexpr int kVectors = 4;      // evolve: choice 1,2,4,8      one of these whole numbers
//   constexpr bool kPrefetch = true; // evolve: bool                true or false
// Only the literal between '=' and ';' is the search's. In other languages the comment may begin with '#' or "/*", and ';' may be missing.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "evolve/gene.h"
#include "evolve/pack/pack_change.h"

namespace evolora {

struct PackParameter {
  Gene gene;
  nlohmann::ordered_json value;  // as the source has it
  std::string file;
  int line = 0;
  std::size_t begin = 0;  // bytes [begin, end) of the file's text: the literal
  std::size_t end = 0;
};

// In order of files and lines. kBadData "FILE:LINE: what": a declaration outside the blocks, one that does not have the form above, a range that is
// empty, a value out of it, a name that is declared twice; and the errors of marked_blocks.
Result<std::vector<PackParameter>> pack_parameters(const PackSources& sources);

GeneSpace pack_gene_space(const std::vector<PackParameter>& parameters);
Genome pack_genome(const std::vector<PackParameter>& parameters);

// The sources with these values; parameters that are not named keep theirs. Errors: those of pack_parameters; kUsage naming parameter, expected and
// got for an unknown name or a value that its declaration does not allow.
Result<PackSources> with_parameters(const PackSources& sources, const Genome& values);

}  // namespace evolora
