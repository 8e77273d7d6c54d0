// Language models in `evolora evolve`: their flags, their session, and the proposers of a plan.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "command.h"
#include "evolve/llm/llm_session.h"
#include "evolve/search_plan.h"

namespace evolora {

inline constexpr const char* kLlmProposer = "llm";

struct LlmFlags {
  std::string config;  // --llm
  std::string replay;  // --replay
};
void add_llm_flags(CLI::App& app, LlmFlags& flags);

// Configuration and key of a search that is to ask language models.
struct LlmInput {
  LlmConfig config;
  Secret key;
  std::string replay;  // folder of a search whose record answers; empty: the endpoint or the queue does
};
// Nothing without --llm. Takes the key out of the environment: call before anything else of the command, so that no thread or child has seen it.
// kUsage: --replay without --llm; and the errors of read_llm_config and take_key (a replay needs no key).
Result<std::optional<LlmInput>> take_llm_input(const LlmFlags& flags, FileSystem& files);

// kUsage if one of llm (whether there is an input) and proposers (of the search) has "llm" and the other does not.
Status check_llm_proposer(const std::optional<LlmInput>& llm, const std::vector<std::string>& proposers);

// The session in the search's folder. agree: of the search's subject. A search that goes on must ask as it did before: the digest of all that decides
// it is kept in llm/settings.sha256, and another one is kUsage.
Result<std::unique_ptr<LlmSession>> open_llm_session(LlmInput input, const SearchPlan& plan, const AgreeGenomeAndSources& agree, FileSystem& files,
                                                     const fs::path& search_folder, const std::atomic<bool>* stop);

// For looking only: a session that knows nothing but the exchanges in record_folder. kUsage if the search was made with other settings than these.
Result<std::unique_ptr<LlmSession>> open_llm_record(LlmConfig config, const SearchPlan& plan, const AgreeGenomeAndSources& agree, FileSystem& files,
                                                    const fs::path& search_folder, const fs::path& record_folder);

// A plan's proposers in its order. session: null if none of them is llm; outlives the object.
struct PlanProposers {
  std::vector<std::unique_ptr<Proposer>> offline;
  std::vector<Proposer*> all;
};
Result<PlanProposers> make_proposers(const SearchPlan& plan, LlmSession* session);

}  // namespace evolora
