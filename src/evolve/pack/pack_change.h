// What a proposal may do to the sources of a kernel pack, and when two of them are the same program.
#pragma once

#include <map>
#include <string>

#include "base/result.h"

namespace evolora {

// File name -> whole text, as in KernelPack and Candidate.
using PackSources = std::map<std::string, std::string>;

// kBadData "FILE:LINE: what": proposed has other files than original, differs from it outside its blocks (marked_blocks.h), markers
// included, or has a block that reaches outside: an open comment, literal or #if at its end. Says nothing about what is in a block; check_pack_source
// does (kernels/pack/pack_rules.h).
Status check_change(const PackSources& original, const PackSources& proposed);

// Equal for sources that differ in comments and white space only. kBadData: a text that is not C++ tokens.
Result<std::string> novelty_digest(const PackSources& sources);

}  // namespace evolora
