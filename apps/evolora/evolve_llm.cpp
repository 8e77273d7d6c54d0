// Flags -> configuration -> session.
#include "evolve_llm.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve/llm/pack_prompt.h"
#include "evolve/pack_judge.h"
#include "evolve/proposers/proposers.h"
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

fs::path settings_path(const fs::path& search_folder) { return search_folder / "llm" / "settings.sha256"; }

// Where the search has settings, those of the session must be them.
Status check_settings(FileSystem& files, const fs::path& search_folder, const LlmSession& session, const char* advice) {
  const fs::path path = settings_path(search_folder);
  if (!files.exists(path) || TRY(files.read(path)) == session.digest() + "\n") return {};
  return Error{ErrorCode::kUsage,
               fmt::format("{}: this search was begun with other models, prompts or operators than --llm says now; {}", path.string(), advice)};
}

Status set_objective(LlmConfig& config, const SearchPlan& plan) {
  if (!searches_pack(plan)) {
    config.proposer.prompt.objective = objective_text(plan.objective);
    return {};
  }
  const PackJudgeSettings judge = TRY(pack_judge_from_json(plan.judge, "plan"));
  config.proposer.prompt.objective = pack_objective(judge.manifest, plan.objective);
  return {};
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
  TRY(set_objective(input.config, plan));
  if (const fs::path record = fs::path(input.replay) / "llm" / "exchanges"; !input.replay.empty() && !files.is_directory(record)) {
    return Error{ErrorCode::kNotFound, fmt::format("{}: not a folder; expected the recorded exchanges of a search", record.string())};
  }
  std::unique_ptr<LlmSession> session = input.replay.empty()
                                            ? TRY(LlmSession::open(files, std::move(input.config), std::move(input.key), search_folder, stop, agree))
                                            : TRY(LlmSession::replay(files, std::move(input.config), input.replay, agree));
  TRY(check_settings(files, search_folder, *session, "go on with those it was begun with, or begin another with --out"));
  const fs::path path = settings_path(search_folder);
  if (files.exists(path)) return session;
  TRY(files.create_directories(path.parent_path()));
  TRY(write_file_atomically(files, path, session->digest() + "\n"));
  return session;
}

Result<std::unique_ptr<LlmSession>> open_llm_record(LlmConfig config, const SearchPlan& plan, const AgreeGenomeAndSources& agree, FileSystem& files,
                                                    const fs::path& search_folder, const fs::path& record_folder) {
  TRY(set_objective(config, plan));
  std::unique_ptr<LlmSession> session = TRY(LlmSession::replay(files, std::move(config), record_folder, agree));
  TRY(check_settings(files, search_folder, *session, "give it as it was, and a build with the same prompts"));
  return session;
}

Result<PlanProposers> make_proposers(const SearchPlan& plan, LlmSession* session) {
  PlanProposers out;
  for (const std::string& name : plan.proposers) {
    if (name == kLlmProposer) {
      out.all.push_back(&session->proposer());
      continue;
    }
    out.offline.push_back(TRY(make_proposer(name)));
    out.all.push_back(out.offline.back().get());
  }
  return out;
}

}  // namespace evolora
