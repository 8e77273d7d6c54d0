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

Result<SearchSubject> recipe_subject(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const std::string& source) {
  const RecipeJudgeSettings settings = TRY(recipe_judge_from_json(plan.judge, source));
  const Json threads = plan.judge.value("max_threads", Json(1));
  if (!threads.is_number_integer() || threads < 1 || threads > 100000) {
    return Error{ErrorCode::kBadData, fmt::format("{}: field 'max_threads': expected 1 to 100000, got {}", source, threads.dump())};
  }
  const bool kernels = plan.judge.value("kernel_genes", Json(false)) == true;
  SearchSubject subject;
  subject.space = recipe_space(threads.get<int>(), kernels ? KernelGenes::kSlots : KernelGenes::kNone);
  subject.judge = TRY(make_recipe_judge(files, folder, settings));
  return subject;
}

Result<SearchSubject> pack_subject(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const std::string& source, Isolation isolation,
                                   const std::atomic<bool>* stop) {
  const PackJudgeSettings settings = TRY(pack_judge_from_json(plan.judge, source));
  const PackSources start = TRY(program_of(plan.start));
  SearchSubject subject;
  subject.space = TRY(genes_of_program(plan.start));
  subject.judge = TRY(make_pack_judge(files, folder, settings, start, isolation, stop));
  subject.genes_of = genes_of_program;
  subject.program_digest = [](const Candidate& candidate) { return evolora::program_digest(candidate); };
  subject.agree = [start](const Candidate& candidate, Changed changed) { return agreed(start, candidate, changed); };
  return subject;
}

}  // namespace

bool searches_pack(const SearchPlan& plan) { return plan.judge.value("kind", Json()) == "pack"; }

Result<SearchSubject> subject_of(FileSystem& files, const fs::path& folder, const SearchPlan& plan, const std::string& source, Isolation isolation,
                                 const std::atomic<bool>* stop) {
  if (searches_pack(plan)) return pack_subject(files, folder, plan, source, isolation, stop);
  return recipe_subject(files, folder, plan, source);
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
