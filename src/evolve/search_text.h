// A search that was opened for looking, in words and as JSON: what `evolve status`, `show`, `best` and reports say.
#pragma once

#include <string>
#include <vector>

#include "base/file_system.h"
#include "evolve/search_state.h"

namespace evolora {

inline fs::path archive_path(const fs::path& folder) { return folder / "search.sqlite"; }

// A search as its archive tells it.
struct OpenedSearch {
  Archive archive;
  SearchPlan plan;
  std::vector<SearchEvent> events;
  SearchState state;
};
// For looking only. Errors of the archive.
Result<OpenedSearch> open_search(const fs::path& folder);

// "1.234 x (at least 1.19 x)" of log ratios; "" for none.
std::string ratio_text(const std::vector<double>& logs);
// "speed 1.234 x (...), memory ...", of what was measured.
std::string measured_text(const Judgement& judgement);
// What training with a kernel pack showed, if it was tried: "speed ..., memory ...: REASON"; "" otherwise.
std::string training_text(const Judgement& judgement);
// "threads=2 recompute=block", or "-"; against another genome: "threads 1 -> 2".
std::string genome_text(const Genome& genome);
std::string genome_difference(const Genome& from, const Genome& to);
// The same of candidates; "other code" where sources differ as well.
std::string candidate_difference(const Candidate& from, const Candidate& to);
// What a confirmation's p is adjusted for, such as "2 finalists (Holm) and 3 looks (Bonferroni)".
std::string adjusted_text(const SearchPlan& plan, std::size_t finalists);
// What a confirmation measures on: "data, seeds and batches", or of packs "shapes, inputs and seeds".
const char* unseen_text(const SearchPlan& plan);
// "confirmed", why not, or that it is not decided: of one of all finalists.
std::string result_text(const Finalist& finalist, const std::vector<Finalist>& all);
// Candidates, and answers of proposers that were none; without the start.
std::int64_t proposals_of(const RunState& run);
// Runs, finalists and the winner, as `evolve status --json` prints them.
nlohmann::ordered_json search_state_to_json(const SearchPlan& plan, const SearchState& state);

}  // namespace evolora
