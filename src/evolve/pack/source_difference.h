// What differs between two versions of a pack's sources, for people.
#pragma once

#include <string>

#include "evolve/pack/pack_change.h"

namespace evolora {

// Line by line, in the form of `diff -u`, with three lines around each change; "" for equal ones. Of the shortest edit scripts one (longest common
// subsequence, Hunt & McIlroy 1976); beyond 4000 changed lines per file all old lines, then all new ones.
std::string source_difference(const PackSources& from, const PackSources& to);

}  // namespace evolora
