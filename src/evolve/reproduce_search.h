// Makes a search again from its archive and compares, event by event: the same plan, measurements and answers of language models must give the same
// proposals to the byte. What was measured is taken from the archive, so this needs neither the machine nor the time of the search.
#pragma once

#include <cstddef>
#include <vector>

#include "evolve/search.h"

namespace evolora {

struct Reproduction {
  std::size_t proposals = 0;     // made again, without the starts
  std::size_t measurements = 0;  // taken from the archive: judgements, re-measurements, confirmations
  bool ended = false;            // the archive has the whole search
};

// parts: space, genes_of, program_digest and proposers as for run_search; the rest is not used. Where the archive has no more of a run, its end is
// not questioned: why a proposer had nothing left is in no archive. Errors: kCorrupt naming source and the first event that differs; those of
// proposers.
Result<Reproduction> reproduce_search(const SearchPlan& plan, const std::vector<SearchEvent>& events, SearchParts parts, const std::string& source);

}  // namespace evolora
