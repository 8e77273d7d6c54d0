// A search's folder (evolve run --out) as a page: what may be claimed, then how it came about.
#pragma once

#include <string>
#include <vector>

#include "evolve/search_text.h"
#include "report/page.h"

namespace evolora {

// The page of DIR/search.sqlite, also while the search runs. Errors of the archive.
Result<std::string> search_report(const fs::path& folder);

// Parts of the page, each pure.

// The best so far over evaluations, one line with its bounds for each proposer: speed, and memory where it was measured. source: the archive's name,
// for errors (kCorrupt).
Result<std::vector<Figure>> best_over_time(const SearchPlan& plan, const std::vector<SearchEvent>& events, const std::string& source);

// How many proposals passed each gate, of all runs together; nothing for a search that has none yet.
std::vector<Figure> gates_funnel(const SearchState& state);

// Who came from whom, by first parents, one line for each individual: "|- 17 llm genome: speed 1.187 x (at least 1.145 x)". What was no candidate
// (an edit that did not match) is left out; of more than kMostLines only what was scored, and of more than that the first.
inline constexpr std::size_t kMostLines = 400;
std::string lineage_text(const Population& population);

}  // namespace evolora
