// Sections of text, each between its fence lines.
#include "evolve/llm/prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "evolve/judge.h"
#include "evolve/llm/untrusted_text.h"
#include "measure/estimators.h"

namespace evolora {
namespace {

std::string fenced(const std::string& fence, const std::string& title, const std::string& text) {
  return fmt::format("[begin {}: {}]\n{}{}[end {}]", fence, title, text, text.empty() || text.back() == '\n' ? "" : "\n", fence);
}

std::string json_text(const nlohmann::ordered_json& value) { return value.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace); }

std::string settings_text(const Genome& genome) {
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const auto& [name, value] : genome) object[name] = value;
  return object.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

// Sources without what stands in these blocks.
std::string sources_text(const Candidate& candidate, const std::vector<SourceBlock>& without) {
  std::string text;
  for (const auto& [file, content] : candidate.sources) {
    if (candidate.sources.size() > 1) text += fmt::format("--- {} ---\n", file);
    std::size_t at = 0;
    for (const SourceBlock& block : without) {
      if (block.file != file) continue;
      text += content.substr(at, block.begin - at) + "...\n";
      at = block.end;
    }
    text += content.substr(at) + (content.empty() || content.back() == '\n' ? "" : "\n");
  }
  return text;
}

// Sources but for their blocks: the same in every candidate of a search, so an endpoint that keeps the beginning of prompts reads it once. only: the
// one block that is shown by itself; others belong to what stands around it.
std::string frame_text(const Candidate& candidate, const SourceBlock* only) {
  auto blocks = find_blocks(candidate.sources);
  if (candidate.sources.empty() || !blocks.ok()) return "";
  if (only != nullptr) std::erase_if(*blocks, [&](const SourceBlock& block) { return block.file != only->file || block.begin != only->begin; });
  return sources_text(candidate, *blocks);
}

// What differs between programs: the content of their blocks, or the settings.
std::string changeable_text(const Candidate& candidate) {
  if (candidate.sources.empty()) return settings_text(candidate.genome);
  const auto blocks = find_blocks(candidate.sources);
  if (!blocks.ok()) return sources_text(candidate, {});
  std::string text;
  for (const SourceBlock& block : *blocks) {
    if (!text.empty()) text += "...\n";
    text += candidate.sources.at(block.file).substr(block.begin, block.end - block.begin);
  }
  return text;
}

std::string ratio_text(const std::vector<double>& logs, const char* what) {
  if (logs.empty()) return "";
  const Summary summary = summarize(logs);
  std::string text = fmt::format("; {:.3f} times {} the baseline", std::exp(summary.mean), what);
  if (summary.n < 2) return text + " (one pair)";
  return text +
         fmt::format(" (95 % interval {:.3f} to {:.3f}, {} pairs)", std::exp(summary.interval.low), std::exp(summary.interval.high), summary.n);
}

std::string failure_text(const Individual& individual, const PromptSettings& settings, const std::string& fence) {
  const Judgement& judgement = individual.judgement;
  constexpr std::size_t kLongestReason = 400;
  std::string text = fmt::format("Refused at gate '{}'.\n", one_line(judgement.gate, 40));
  text += fenced(fence, "reason", one_line(judgement.reason, kLongestReason));
  if (!settings.include_artifacts || judgement.artifact.empty()) return text;
  const auto limit = std::min(kArtifactBytes, static_cast<std::size_t>(std::max<std::int64_t>(0, settings.max_artifact_bytes)));
  return text + "\n" + fenced(fence, "messages", harmless_text(judgement.artifact, limit));
}

std::string parameters_text(const GeneSpace* space) {
  if (space == nullptr || space->genes.empty()) return "";
  std::string text = "Settings, each with its range:\n";
  for (const Gene& gene : space->genes) {
    std::string range;
    switch (gene.kind) {
      case GeneKind::kChoice:
        for (const auto& choice : gene.choices) range += (range.empty() ? "one of " : ", ") + json_text(choice);
        break;
      case GeneKind::kInteger:
      case GeneKind::kLogInteger: range = fmt::format("whole number from {} to {}", gene.low, gene.high); break;
      case GeneKind::kBoolean: range = "true or false"; break;
    }
    text += fmt::format("- {}: {}", gene.name, range);
    if (gene.only_if) text += fmt::format("; only where {} is one of {}", gene.only_if->gene, json_text(gene.only_if->values));
    text += "\n";
  }
  return text;
}

std::string examples_text(const std::vector<const Individual*>& programs, const std::string& heading, const std::string& fence) {
  if (programs.empty()) return "";
  std::string text = heading;
  for (const Individual* program : programs) {
    text += fmt::format("\n\n{}\n{}", fenced(fence, fmt::format("program {}", program->number), changeable_text(program->candidate)),
                        describe_scores(*program));
  }
  return text;
}

// Everything that goes between fence lines.
std::string fence_of(const PromptSubject& subject, Random& random) {
  std::vector<const Individual*> shown = subject.top;
  shown.insert(shown.end(), subject.diverse.begin(), subject.diverse.end());
  shown.push_back(subject.program);
  if (subject.second != nullptr) shown.push_back(subject.second);
  std::vector<std::string_view> texts;
  for (const Individual* individual : shown) {
    for (const auto& source : individual->candidate.sources) texts.emplace_back(source.second);
    texts.emplace_back(individual->judgement.artifact);
    texts.emplace_back(individual->judgement.reason);
  }
  return fence_for(texts, random);
}

std::string second_text(const PromptSubject& subject, const std::string& fence) {
  if (subject.second == nullptr) return "";
  return fenced(fence, fmt::format("program {}", subject.second->number), changeable_text(subject.second->candidate));
}

// In the form in which the answer is wanted: small models repeat what they see.
std::string block_text(const PromptSubject& subject, const std::string& fence) {
  if (subject.block == nullptr) return "";
  const SourceBlock& block = *subject.block;
  const std::string text = subject.program->candidate.sources.at(block.file).substr(block.begin, block.end - block.begin);
  return fenced(fence, "block", fmt::format("```cpp\n{}```\n", text));
}

}  // namespace

std::string describe_scores(const Individual& individual) {
  const Judgement& judgement = individual.judgement;
  if (judgement.outcome != Outcome::kScored) return fmt::format("{} at gate '{}'", word(judgement.outcome), one_line(judgement.gate, 40));
  std::string text = "scored" + ratio_text(judgement.log_speed, "as fast as") + ratio_text(judgement.log_memory, "less memory than");
  if (individual.fitness) text += fmt::format("; fitness {:.4f} (lower confidence bound)", *individual.fitness);
  return text;
}

std::vector<ChatMessage> make_prompt(const PromptTemplates& templates, const PromptSettings& settings, const PromptSubject& subject, Random& random) {
  const std::string fence = fence_of(subject, random);
  PromptValues values;
  for (const std::string& name : prompt_value_names()) values[name] = "";
  values["objective"] = settings.objective;
  values["instructions"] = settings.instructions;
  values["fence"] = fence;
  const std::string frame = frame_text(subject.program->candidate, subject.block);
  if (!frame.empty()) values["frame"] = "What stands around the lines that may change, and stays:\n\n" + fenced(fence, "frame", frame);
  values["program"] = fenced(fence, fmt::format("program {}", subject.program->number), changeable_text(subject.program->candidate));
  values["scores"] = describe_scores(*subject.program);
  values["parameters"] = parameters_text(subject.space);
  values["second_program"] = second_text(subject, fence);
  values["second_scores"] = subject.second == nullptr ? "" : describe_scores(*subject.second);
  values["block"] = block_text(subject, fence);
  if (subject.program->judgement.outcome == Outcome::kRejected) values["failure"] = failure_text(*subject.program, settings, fence);
  std::vector<const Individual*> top = subject.top, diverse = subject.diverse;
  for (;;) {
    values["top_programs"] = examples_text(top, "The best programs so far:", fence);
    values["diverse_programs"] = examples_text(diverse, "Programs that go other ways:", fence);
    std::vector<ChatMessage> messages = {{"system", templates.fill("system", values)}, {"user", templates.fill(subject.template_name, values)}};
    const auto bytes = static_cast<std::int64_t>(messages[0].content.size() + messages[1].content.size());
    if (bytes <= settings.max_prompt_bytes || (top.empty() && diverse.empty())) return messages;
    (diverse.empty() ? top : diverse).pop_back();
  }
}

}  // namespace evolora
