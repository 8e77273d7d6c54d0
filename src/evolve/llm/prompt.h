// What a prompt tells a language model about a search: programs, measurements with intervals, why a candidate was refused, what may be set. Only what
// the judge says to proposers goes in (never Judgement::details, seeds or hidden shapes), and what others wrote stands between fence lines.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "evolve/llm/chat.h"
#include "evolve/llm/prompt_templates.h"
#include "evolve/llm/source_edits.h"
#include "evolve/proposer.h"

namespace evolora {

struct PromptSettings {
  std::string instructions;  // the user's own words, into the system message
  std::string objective = "Higher is better: the lower confidence bound of log(time of the baseline / time of the candidate).";
  int num_top_programs = 3;
  int num_diverse_programs = 2;
  bool include_artifacts = true;
  std::int64_t max_artifact_bytes = 4096;  // at most kArtifactBytes
  // Programs that serve as examples are left out, the last first, until the prompt has at most this many bytes.
  std::int64_t max_prompt_bytes = 60000;
};

// What one prompt is about.
struct PromptSubject {
  std::string template_name;
  const Individual* program = nullptr;  // the one to change
  const Individual* second = nullptr;   // of a crossover
  const SourceBlock* block = nullptr;   // of a rewrite
  std::vector<const Individual*> top, diverse;
  const GeneSpace* space = nullptr;
};

// System and user message. random: of the fence.
std::vector<ChatMessage> make_prompt(const PromptTemplates& templates, const PromptSettings& settings, const PromptSubject& subject, Random& random);

// "scored; 1.213 times as fast as the baseline (95 % interval 1.180 to 1.247, 5 pairs); ..." For people and models.
std::string describe_scores(const Individual& individual);

}  // namespace evolora
