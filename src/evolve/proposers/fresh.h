// What all offline proposers share: a proposal is never a candidate that was there before.
#pragma once

#include <functional>
#include <optional>
#include <set>
#include <string>

#include "evolve/proposer.h"

namespace evolora {

// Digests of everything in the history.
std::set<std::string> seen_digests(const PopulationView& view);

struct Draft {
  Genome genome;
  const Individual* from = nullptr;  // whose sources the candidate keeps; null: the start's
  std::vector<std::int64_t> parents;
  std::string origin;
};

// The first of at most `tries` drafts that is new; then, with the sources of `last_resort` (null: the start), any genome of the space that is new.
// kUsage "space exhausted" if there is none. draft may give nothing.
Result<Proposal> fresh_proposal(const PopulationView& view, Random& random, const Individual* last_resort,
                                const std::function<std::optional<Draft>()>& draft, int tries = 64);

// Scored individuals of the history, best fitness first; equal ones by number.
std::vector<const Individual*> ranked(const PopulationView& view);

}  // namespace evolora
