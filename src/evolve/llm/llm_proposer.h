// Candidates that a language model proposes: it is shown a program, its measurements and others, and answers with edits, a new block, or settings.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "evolve/llm/chat.h"
#include "evolve/llm/model_choice.h"
#include "evolve/llm/prompt.h"
#include "evolve/proposer.h"

namespace evolora {

// How a model is asked to change a program. For recipes (candidates without sources) it is always kGenome.
enum class LlmOperator { kDiff, kRewrite, kCrossover, kRepair, kGenome };
const char* word(LlmOperator op);  // "diff", "rewrite", "crossover", "repair", "genome"

struct LlmModel {
  std::string name;
  double weight = 1;
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::int64_t max_tokens = 4096;
};

struct LlmProposerSettings {
  std::vector<LlmModel> models;  // at least one
  // Relative frequencies. One that is not possible at the moment (no second parent, nothing to repair) leaves its share to the others.
  std::map<LlmOperator, double> operators = {
      {LlmOperator::kDiff, 0.5}, {LlmOperator::kRewrite, 0.2}, {LlmOperator::kCrossover, 0.15}, {LlmOperator::kRepair, 0.15}};
  PromptSettings prompt;
  std::string reasoning_effort;
  std::int64_t max_source_bytes = 65536;    // of a candidate's sources together
  std::optional<std::int64_t> random_seed;  // of the endpoint: exchange n is sent seed + n
};

// Makes a candidate's genome and sources agree after one of them changed (declared parameters of a pack are genes). Errors reject the proposal: their
// message is the reason.
using AgreeGenomeAndSources = std::function<Result<Candidate>(const Candidate&, Changed)>;

// A pure function of view, random and the answers (RecordedChat makes those repeatable). Proposals that nothing came of carry the reason: "no_edit",
// "no_match", "two_matches", "outside_block", "overlap", "unchanged", "duplicate", "too_long", "hidden_characters", "bad_genome", each with details.
// Record of a proposal: {"model", "operator", "exchange", "prompt_tokens", "completion_tokens", "tokens", "cost" in dollars}.
class LlmProposer : public Proposer {
 public:
  // chat outlives the object. agree may be empty.
  LlmProposer(LlmProposerSettings settings, PromptTemplates templates, ChatModel& chat, AgreeGenomeAndSources agree = {})
      : settings_(std::move(settings)), templates_(std::move(templates)), chat_(chat), agree_(std::move(agree)) {}

  std::string name() const override { return "llm"; }
  // view.parent is not null. Errors: those of ChatModel::chat.
  Result<Proposal> propose(const PopulationView& view, Random& random) override;

 private:
  struct Task;
  static Random fence_source(const PopulationView& view);
  Task choose_task(const PopulationView& view, Random& random) const;
  Result<Candidate> candidate_from(const std::string& answer, const Task& task, const PopulationView& view) const;
  Status acceptable(const Candidate& candidate, const Task& task, const PopulationView& view) const;
  std::int64_t next_exchange(const PopulationView& view);

  LlmProposerSettings settings_;
  PromptTemplates templates_;
  ChatModel& chat_;
  AgreeGenomeAndSources agree_;
  std::int64_t next_exchange_ = 0;
};

}  // namespace evolora
