// What a search is about, made from its plan: recipes, or the source of a kernel pack. Everything that differs between the two is behind this.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/file_system.h"
#include "evolve/judge.h"
#include "evolve/sandbox/sandbox.h"
#include "evolve/search_plan.h"

namespace evolora {

struct SearchSubject {
  GeneSpace space;  // of the start
  std::unique_ptr<Judge> judge;
  // Of packs only; see SearchParts and LlmProposer.
  std::function<Result<GeneSpace>(const Candidate&)> genes_of;
  std::function<Result<std::string>(const Candidate&)> program_digest;
  std::function<Result<Candidate>(const Candidate&, Changed)> agree;
};

// Is the search about kernel source?
bool searches_pack(const SearchPlan& plan);

// Without a judge: what candidates are. kBadData: of recipes naming source (the archive) and field, of packs the line of the start's source. kUsage:
// the plan's genes are not this program's.
Result<SearchSubject> candidates_of(const SearchPlan& plan, const std::string& source);

// The same with one. folder: of the search. isolation: of source that nobody read; not part of a plan, so that no archive can ask for less. Errors:
// those of candidates_of and of the judges.
Result<SearchSubject> subject_of(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const std::string& source, Isolation isolation,
                                 const std::atomic<bool>* stop);

// Writes what `train --recipe FOLDER/recipe.json` takes: for a pack, FOLDER is the pack, and the recipe names it. Errors: those of writing; of a
// candidate whose sources and genome do not agree.
Status export_candidate(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const Candidate& candidate);

// What `train` needs besides for what export_candidate wrote: engine and kind of adapter of a pack for mlx; empty for all others. kBadData.
Result<std::string> training_flags(const SearchPlan& plan);

// The text of the program's files as it is compiled, file name -> text; empty for recipes. Errors: those of program_of
// (evolve/pack/pack_candidate.h).
Result<std::map<std::string, std::string>> program_text(const SearchPlan& plan, const Candidate& candidate);

}  // namespace evolora
