// Retries, then enumeration.
#include "evolve/proposers/fresh.h"

#include <algorithm>

#include "base/check.h"
#include "evolve/gene_moves.h"

namespace evolora {
namespace {

std::map<std::string, std::string> sources_of(const PopulationView& view, const Individual* from) {
  if (from != nullptr) return from->candidate.sources;
  return view.history.empty() ? std::map<std::string, std::string>() : view.history.front()->candidate.sources;
}

}  // namespace

std::set<std::string> seen_digests(const PopulationView& view) {
  std::set<std::string> seen;
  for (const Individual* each : view.history) seen.insert(each->digest);
  return seen;
}

Result<Proposal> fresh_proposal(const PopulationView& view, Random& random, const Individual* last_resort,
                                const std::function<std::optional<Draft>()>& draft, int tries) {
  CHECK(view.space != nullptr);
  const std::set<std::string> seen = seen_digests(view);
  for (int i = 0; i < tries; ++i) {
    std::optional<Draft> next = draft();
    if (!next) continue;
    Candidate candidate{std::move(next->genome), sources_of(view, next->from)};
    if (seen.contains(candidate.digest())) continue;
    return Proposal{.candidate = std::move(candidate), .parents = std::move(next->parents), .origin = std::move(next->origin)};
  }
  const auto sources = sources_of(view, last_resort);
  const auto genome = find_genome(*view.space, random, [&](const Genome& each) { return !seen.contains(Candidate{each, sources}.digest()); });
  if (!genome) return Error{ErrorCode::kUsage, "space exhausted: every candidate of this space has been proposed"};
  return Proposal{.candidate = {*genome, sources}, .origin = "enumerate"};
}

std::vector<const Individual*> ranked(const PopulationView& view) {
  std::vector<const Individual*> out;
  for (const Individual* each : view.history) {
    if (each->fitness) out.push_back(each);
  }
  std::stable_sort(out.begin(), out.end(), [](const Individual* a, const Individual* b) { return *a->fitness > *b->fitness; });
  return out;
}

}  // namespace evolora
