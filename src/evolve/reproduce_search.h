// Makes a search again from its archive and compares, event by event: the same plan, measurements and answers of language models must give the same
// proposals to the byte. What was measured is taken as it stands, so this needs neither the machine nor the time of the search.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "evolve/search.h"

namespace evolora {

struct Reproduction {
  std::size_t proposals = 0;     // made again, without the starts
  std::size_t measurements = 0;  // taken from the archive: judgements, re-measurements, confirmations
  bool ended = false;            // the archive has the whole search
  bool excused = false;          // a proposer of `models` made no more, and why is not recorded
};

// parts: space, genes_of, program_digest and proposers as for run_search; the rest is not used. models: names of proposers whose runs may end for
// reasons that are not in the archive (a budget of tokens); every other run must end where the search ends it. A comparison in which such a run went
// on after a later one had begun is not recognised. Errors: kCorrupt naming source and the first event that differs; those of proposers, with the
// event.
Result<Reproduction> reproduce_search(const SearchPlan& plan, const std::vector<SearchEvent>& events, SearchParts parts,
                                      const std::set<std::string>& models, const std::string& source);

}  // namespace evolora
