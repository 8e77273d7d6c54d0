// A search's language models, put together: configuration, key, endpoint or queue or replay, records, budget, proposer.
#pragma once

#include <atomic>
#include <memory>

#include "evolve/llm/llm_config.h"
#include "evolve/llm/recorded_chat.h"

namespace evolora {

// In the search's folder: llm/exchanges/NNNNNN.json, llm/ledger.jsonl, and with the manual queue llm/queue/.
class LlmSession {
 public:
  // Exchanges that the folder has are answered from it, others by the endpoint or the queue. key: take_key(config). stop and files outlive the
  // object.
  static Result<std::unique_ptr<LlmSession>> open(FileSystem& files, LlmConfig config, Secret key, const fs::path& search_folder,
                                                  const std::atomic<bool>* stop, AgreeGenomeAndSources agree);
  // Nothing but the exchanges recorded in a search's folder (none, if it has no such files): no network, no key, no cost.
  static Result<std::unique_ptr<LlmSession>> replay(FileSystem& files, LlmConfig config, const fs::path& recorded_search_folder,
                                                    AgreeGenomeAndSources agree);
  ~LlmSession();

  Proposer& proposer();
  // All that fixes what is asked: part of the digest of a search's plan.
  std::string digest() const;
  TokenCount spent_tokens() const;  // of this search, with those before a restart; 0 in a replay
  Picodollars spent_money() const;

 private:
  LlmSession();
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace evolora
