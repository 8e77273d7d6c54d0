// Owns the parts in the order in which they need each other.
#include "evolve/llm/llm_session.h"

#include <fmt/format.h>

#include "base/sha256.h"
#include "evolve/llm/manual_chat.h"

namespace evolora {

struct LlmSession::State {
  Secret key;
  std::unique_ptr<Transport> transport;
  std::unique_ptr<Waiter> waiter;
  std::optional<Budget> budget;
  std::unique_ptr<ChatModel> model;
  std::unique_ptr<RecordedChat> recorded;
  std::unique_ptr<LlmProposer> proposer;
  std::string digest;
};

namespace {

Result<PromptTemplates> templates_of(FileSystem& files, const LlmConfig& config) {
  if (!config.template_folder) return PromptTemplates();
  return PromptTemplates::with_folder(files, *config.template_folder);
}

// Address, key, prices and budget may differ between a search and its replay; what is asked may not.
std::string digest_of(const LlmProposerSettings& settings, const PromptTemplates& templates) {
  std::string text = templates.digest();
  for (const LlmModel& model : settings.models) {
    text += fmt::format("|{}|{}|{}|{}|{}", model.name, model.weight, model.temperature.value_or(-1), model.top_p.value_or(-1), model.max_tokens);
  }
  for (const auto& [op, share] : settings.operators) text += fmt::format("|{}={}", word(op), share);
  const PromptSettings& prompt = settings.prompt;
  text += fmt::format("|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", prompt.instructions, prompt.objective, prompt.num_top_programs, prompt.num_diverse_programs,
                      prompt.include_artifacts, prompt.max_artifact_bytes, prompt.max_prompt_bytes, settings.reasoning_effort,
                      settings.max_source_bytes, settings.random_seed.value_or(-1));
  return sha256_hex(text);
}

}  // namespace

LlmSession::LlmSession() : state_(std::make_unique<State>()) {}
LlmSession::~LlmSession() = default;

Result<std::unique_ptr<LlmSession>> LlmSession::open(FileSystem& files, LlmConfig config, Secret key, const fs::path& search_folder,
                                                     const std::atomic<bool>* stop, AgreeGenomeAndSources agree) {
  std::unique_ptr<LlmSession> session(new LlmSession());
  State& state = *session->state_;
  const fs::path folder = search_folder / "llm";
  TRY(files.create_directories(folder));
  PromptTemplates templates = TRY(templates_of(files, config));
  state.key = std::move(key);
  state.waiter = clock_waiter(stop);
  state.budget = TRY(Budget::open(files, folder / "ledger.jsonl", config.budget));
  if (config.manual) {
    state.model = std::make_unique<ManualChat>(files, folder / "queue", *state.waiter);
  } else {
    state.transport = TRY(curl_transport(stop));
    state.model = std::make_unique<Endpoint>(config.endpoint, state.key, *state.transport, *state.waiter, *state.budget);
  }
  state.recorded = std::make_unique<RecordedChat>(files, folder / "exchanges", *state.model);
  state.digest = digest_of(config.proposer, templates);
  state.proposer = std::make_unique<LlmProposer>(std::move(config.proposer), std::move(templates), *state.recorded, std::move(agree));
  return session;
}

Result<std::unique_ptr<LlmSession>> LlmSession::replay(FileSystem& files, LlmConfig config, const fs::path& recorded_search_folder,
                                                       AgreeGenomeAndSources agree) {
  std::unique_ptr<LlmSession> session(new LlmSession());
  State& state = *session->state_;
  const fs::path exchanges = recorded_search_folder / "llm" / "exchanges";
  PromptTemplates templates = TRY(templates_of(files, config));
  state.recorded = std::make_unique<RecordedChat>(files, exchanges);
  state.digest = digest_of(config.proposer, templates);
  state.proposer = std::make_unique<LlmProposer>(std::move(config.proposer), std::move(templates), *state.recorded, std::move(agree));
  return session;
}

Proposer& LlmSession::proposer() { return *state_->proposer; }
std::string LlmSession::digest() const { return state_->digest; }
TokenCount LlmSession::spent_tokens() const { return state_->budget ? state_->budget->spent_tokens() : TokenCount{}; }
Picodollars LlmSession::spent_money() const { return state_->budget ? state_->budget->spent_money() : 0; }

}  // namespace evolora
