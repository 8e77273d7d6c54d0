// One branch per kind of search.
#include "evolve/search_subject.h"

#include <fmt/format.h>

#include "evolve/pack/init.h"
#include "evolve/pack/pack_candidate.h"
#include "evolve/pack_judge.h"
#include "evolve/recipe_judge.h"
#include "evolve/recipe_space.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Result<SearchSubject> recipe_candidates(const SearchPlan& plan, const std::string& source) {
  const Json threads = plan.judge.value("max_threads", Json(1));
  if (!threads.is_number_integer() || threads < 1 || threads > 100000) {
    return Error{ErrorCode::kBadData, fmt::format("{}: field 'max_threads': expected 1 to 100000, got {}", source, threads.dump())};
  }
  const bool kernels = plan.judge.value("kernel_genes", Json(false)) == true;
  SearchSubject subject;
  subject.space = recipe_space(threads.get<int>(), kernels ? KernelGenes::kSlots : KernelGenes::kNone);
  if (plan.judge.value("keep_arithmetic", Json(false)) == true) {
    const Genome start = TRY(subject.space.canonical(plan.start.genome));
    for (const std::string& gene : plan.inexact_genes) {
      const Gene* known = subject.space.find(gene);
      if (known != nullptr && known->kind == GeneKind::kChoice && start.contains(gene)) continue;
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: plan field 'inexact_genes': expected genes of recipes that are choices, got '{}'", source, gene)};
    }
    keep_values(subject.space, plan.inexact_genes, start);
  }
  return subject;
}

Result<SearchSubject> pack_candidates(const SearchPlan& plan) {
  SearchSubject subject;
  subject.space = TRY(genes_of_program(plan.start));
  subject.genes_of = genes_of_program;
  subject.program_digest = [](const Candidate& candidate) { return evolora::program_digest(candidate); };
  subject.agree = [start = TRY(program_of(plan.start))](const Candidate& candidate, Changed changed) { return agreed(start, candidate, changed); };
  return subject;
}

}  // namespace

bool searches_pack(const SearchPlan& plan) { return plan.judge.value("kind", Json()) == "pack"; }

Result<SearchSubject> candidates_of(const SearchPlan& plan, const std::string& source) {
  SearchSubject subject = TRY(searches_pack(plan) ? pack_candidates(plan) : recipe_candidates(plan, source));
  if (space_to_json(subject.space) != plan.space) {
    return Error{ErrorCode::kUsage,
                 fmt::format("{}: this search was begun with other genes than this program has; begin another with --out", source)};
  }
  return subject;
}

Result<SearchSubject> subject_of(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const std::string& source, Isolation isolation,
                                 const std::atomic<bool>* stop) {
  SearchSubject subject = TRY(candidates_of(plan, source));
  if (searches_pack(plan)) {
    const PackJudgeSettings settings = TRY(pack_judge_from_json(plan.judge, source));
    const PackSources start = TRY(program_of(plan.start));
    subject.judge = TRY(make_pack_judge(files, folder, settings, start, isolation, stop));
  } else {
    const RecipeJudgeSettings settings = TRY(recipe_judge_from_json(plan.judge, source));
    subject.judge = TRY(make_recipe_judge(files, folder, settings));
  }
  return subject;
}

Status export_candidate(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const Candidate& candidate) {
  TRY(files.create_directories(folder));
  if (!searches_pack(plan)) return write_file_atomically(files, folder / "recipe.json", recipe_json_of(candidate.genome).dump(2) + "\n");
  const PackJudgeSettings settings = TRY(pack_judge_from_json(plan.judge, "plan"));
  const KernelPack pack{.manifest = settings.manifest, .sources = TRY(program_of(candidate))};
  TRY(write_pack(files, folder, pack));
  Json recipe = settings.training ? settings.training->baseline : Json::object();
  recipe["pack"] = ".";
  return write_file_atomically(files, folder / "recipe.json", recipe.dump(2) + "\n");
}

Result<std::string> training_flags(const SearchPlan& plan) {
  if (!searches_pack(plan)) return std::string();
  const PackJudgeSettings settings = TRY(pack_judge_from_json(plan.judge, "plan"));
  return training_flags(settings.manifest);
}

Result<std::map<std::string, std::string>> program_text(const SearchPlan& plan, const Candidate& candidate) {
  if (!searches_pack(plan)) return std::map<std::string, std::string>();
  return program_of(candidate);
}

}  // namespace evolora
