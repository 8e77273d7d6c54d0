// Flags -> configuration -> session.
#include "evolve_llm.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve/llm/pack_prompt.h"
#include "evolve/pack_judge.h"
#include "evolve/search_subject.h"

namespace evolora {
namespace {

std::string objective_text(Objective objective) {
  switch (objective) {
    case Objective::kSpeed: return "Higher is better: the lower confidence bound of log(time of the baseline / time of the candidate).";
    case Objective::kMemory:
      return "Higher is better: the lower confidence bound of log(peak memory of the baseline / peak memory of the candidate).";
    case Objective::kBoth:
      return "Higher is better: the sum of the lower confidence bounds of log(time of the baseline / time of the candidate) and log(peak memory of "
             "the "
             "baseline / peak memory of the candidate).";
  }
  return "";
}

Status check_settings(FileSystem& files, const fs::path& path, const std::string& digest) {
  if (!files.exists(path)) {
    TRY(files.create_directories(path.parent_path()));
    return write_file_atomically(files, path, digest + "\n");
  }
  if (TRY(files.read(path)) == digest + "\n") return {};
  return Error{ErrorCode::kUsage,
               fmt::format("{}: this search was begun with other models, prompts or operators than --llm says now; go on with those "
                           "it was begun with, or begin another with --out",
                           path.string())};
}

}  // namespace

void add_llm_flags(CLI::App& app, LlmFlags& flags) {
  add_value(app, "--llm", flags.config, "Configuration (YAML) of language models that propose candidates");
  add_value(app, "--replay", flags.replay, "Folder of a search whose recorded answers are used instead of asking");
}

Result<std::optional<LlmInput>> take_llm_input(const LlmFlags& flags, FileSystem& files) {
  if (flags.config.empty()) {
    if (flags.replay.empty()) return std::optional<LlmInput>();
    return Error{ErrorCode::kUsage, "--replay: expected the configuration of the recorded search with --llm as well"};
  }
  LlmInput input{.config = TRY(read_llm_config(files, flags.config)), .key = {}, .replay = flags.replay};
  if (flags.replay.empty()) input.key = TRY(take_key(input.config));
  return std::optional<LlmInput>(std::move(input));
}

Status check_llm_proposer(const std::optional<LlmInput>& llm, const std::vector<std::string>& proposers) {
  const bool asked = std::find(proposers.begin(), proposers.end(), kLlmProposer) != proposers.end();
  if (asked == llm.has_value()) return {};
  if (asked) return Error{ErrorCode::kUsage, "proposer llm: expected a configuration of language models with --llm"};
  return Error{ErrorCode::kUsage, "--llm: none of the search's proposers is llm, so it would do nothing"};
}

Result<std::unique_ptr<LlmSession>> open_llm_session(LlmInput input, const SearchPlan& plan, const AgreeGenomeAndSources& agree, FileSystem& files,
                                                     const fs::path& search_folder, const std::atomic<bool>* stop) {
  if (searches_pack(plan)) {
    const PackJudgeSettings judge = TRY(pack_judge_from_json(plan.judge, "plan"));
    input.config.proposer.prompt.objective = pack_objective(judge.manifest, plan.objective);
  } else {
    input.config.proposer.prompt.objective = objective_text(plan.objective);
  }
  std::unique_ptr<LlmSession> session = input.replay.empty()
                                            ? TRY(LlmSession::open(files, std::move(input.config), std::move(input.key), search_folder, stop, agree))
                                            : TRY(LlmSession::replay(files, std::move(input.config), input.replay, agree));
  TRY(check_settings(files, search_folder / "llm" / "settings.sha256", session->digest()));
  return session;
}

}  // namespace evolora
