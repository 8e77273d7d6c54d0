// Choosing what to ask, asking, and turning the answer into a candidate.
#include "evolve/llm/llm_proposer.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"
#include "evolve/llm/answer.h"
#include "evolve/llm/untrusted_text.h"

namespace evolora {
namespace {

Error rejected(const std::string& what) { return {ErrorCode::kBadData, what}; }

// A failure is repaired from at most this often; what three answers could not mend is not worth a fourth.
constexpr std::int64_t kMostRepairs = 2;

// Candidates that were refused after they had been parsed, and not repaired too often already.
std::vector<const Individual*> repairable(const PopulationView& view) {
  std::vector<const Individual*> out;
  for (const Individual* individual : view.history) {
    const bool refused = individual->judgement.outcome == Outcome::kRejected && individual->rejected.empty() && individual->judgement.gate != "parse";
    if (!refused || individual->candidate.sources.empty() || !find_blocks(individual->candidate.sources).ok()) continue;
    const auto repairs = std::count_if(view.history.begin(), view.history.end(), [&](const Individual* other) {
      return other->origin == "llm repair" && !other->parents.empty() && other->parents.front() == individual->number;
    });
    if (repairs < kMostRepairs) out.push_back(individual);
  }
  return out;
}

// Scored programs other than the parent, without repetition: the best of the search, then the island's.
std::vector<const Individual*> others(const PopulationView& view) {
  std::vector<const Individual*> out;
  for (const auto* list : {&view.best, &view.elites}) {
    for (const Individual* individual : *list) {
      if (individual->number == view.parent->number || individual->judgement.outcome != Outcome::kScored) continue;
      const bool known = std::any_of(out.begin(), out.end(), [&](const Individual* other) { return other->number == individual->number; });
      if (!known) out.push_back(individual);
    }
  }
  return out;
}

// The block that the answer which became this program was to replace: its place among the program's blocks, or nothing if it was asked for otherwise.
std::optional<std::size_t> rewritten_block(const Individual& individual) {
  const auto& record = individual.record;
  if (!record.is_object() || !record.contains("block") || !record["block"].is_number_unsigned()) return std::nullopt;
  return record["block"].get<std::size_t>();
}

// The first operator at which the running sum of frequencies passes u, among those that are possible.
LlmOperator pick(const std::map<LlmOperator, double>& frequencies, double u) {
  double sum = 0;
  for (const auto& [op, frequency] : frequencies) sum += frequency;
  for (const auto& [op, frequency] : frequencies) {
    u -= frequency / sum;
    if (u < 0 && frequency > 0) return op;
  }
  // Rounding: the last that can be.
  for (auto last = frequencies.rbegin(); last != frequencies.rend(); ++last) {
    if (last->second > 0) return last->first;
  }
  CHECK(false);
}

}  // namespace

const char* word(LlmOperator op) {
  switch (op) {
    case LlmOperator::kDiff: return "diff";
    case LlmOperator::kRewrite: return "rewrite";
    case LlmOperator::kCrossover: return "crossover";
    case LlmOperator::kRepair: return "repair";
    case LlmOperator::kGenome: return "genome";
  }
  CHECK(false);
}

struct LlmProposer::Task {
  LlmOperator op = LlmOperator::kDiff;
  const Individual* program = nullptr;
  const Individual* second = nullptr;
  std::size_t block_number = 0;
  std::optional<SourceBlock> block;  // the answer is to be this block as a whole; otherwise edits, or settings
  std::vector<const Individual*> top, diverse;

  std::vector<std::int64_t> parents() const {
    std::vector<std::int64_t> out = {program->number};
    if (second != nullptr) out.push_back(second->number);
    return out;
  }
};

// One number for a search, from its start: prompts then begin alike, and an endpoint that keeps what it has read reads only what differs. Who writes
// the number into a program has won nothing, the next prompt has another.
Random LlmProposer::fence_source(const PopulationView& view) {
  std::uint64_t seed = 0;
  const std::string digest = view.history.empty() ? "" : view.history.front()->digest;
  for (const char c : digest) seed = seed * 1099511628211ULL + static_cast<unsigned char>(c);
  return Random(seed, 0);
}

LlmProposer::Task LlmProposer::choose_task(const PopulationView& view, Random& random) const {
  Task task;
  task.program = view.parent;
  std::vector<const Individual*> rest = others(view);
  const std::vector<const Individual*> broken = repairable(view);
  const bool has_sources = !view.parent->candidate.sources.empty();
  std::map<LlmOperator, double> possible = settings_.operators;
  const auto rule_out = [&](LlmOperator op, bool impossible) {
    if (impossible) possible.erase(op);
  };
  rule_out(LlmOperator::kCrossover, rest.empty());
  rule_out(LlmOperator::kRepair, broken.empty());
  rule_out(LlmOperator::kGenome, view.space == nullptr || view.space->genes.empty());
  double sum = 0;
  for (const auto& [op, frequency] : possible) sum += frequency;
  const double u = random.uniform();
  task.op = !has_sources ? LlmOperator::kGenome : sum > 0 ? pick(possible, u) : LlmOperator::kDiff;
  if (task.op == LlmOperator::kRepair) task.program = broken[random.below(broken.size())];
  if (task.op == LlmOperator::kCrossover) task.second = rest[random.below(rest.size())];
  const bool rewrites = task.op == LlmOperator::kRewrite || task.op == LlmOperator::kCrossover;
  // A model that wrote a block is asked to mend it as a block: an edit asks for more care than small ones have.
  const auto again = task.op == LlmOperator::kRepair ? rewritten_block(*task.program) : std::nullopt;
  if (rewrites || again) {
    const auto blocks = find_blocks(task.program->candidate.sources);
    if (blocks.ok()) task.block_number = again ? *again : random.below(blocks->size());
    if (blocks.ok() && task.block_number < blocks->size()) task.block = (*blocks)[task.block_number];
    if (!blocks.ok()) task.op = LlmOperator::kDiff;  // whose answer will be refused with the place of the broken marker
  }
  for (int i = 0; i < settings_.prompt.num_top_programs && !rest.empty(); ++i) {
    task.top.push_back(rest.front());
    rest.erase(rest.begin());
  }
  for (int i = 0; i < settings_.prompt.num_diverse_programs && !rest.empty(); ++i) {
    const auto chosen = rest.begin() + static_cast<std::ptrdiff_t>(random.below(rest.size()));
    task.diverse.push_back(*chosen);
    rest.erase(chosen);
  }
  return task;
}

Result<Candidate> LlmProposer::candidate_from(const std::string& answer, const Task& task, const PopulationView& view) const {
  Candidate candidate = task.program->candidate;
  if (task.op == LlmOperator::kGenome) {
    const nlohmann::ordered_json changes = TRY(object_in_answer(answer));
    for (const auto& [name, value] : changes.items()) candidate.genome[name] = value;
    Result<Genome> canonical = view.space->canonical(candidate.genome);
    if (!canonical.ok()) return rejected("bad_genome: " + one_line(canonical.error().message, 300));
    if (*canonical == task.program->candidate.genome) return rejected("unchanged: the settings are the parent's");
    candidate.genome = *canonical;
  } else if (task.block) {
    const std::string code = TRY(code_in_answer(answer));
    candidate.sources = TRY(replace_block(candidate.sources, *task.block, code));
  } else {
    const std::vector<SourceEdit> edits = TRY(edits_in_answer(answer));
    candidate.sources = TRY(apply_edits(candidate.sources, edits));
  }
  if (!agree_) return candidate;
  Result<Candidate> agreed = agree_(candidate, task.op == LlmOperator::kGenome ? Changed::kGenome : Changed::kSources);
  if (!agreed.ok()) return rejected(one_line(agreed.error().message, 300));
  return agreed;
}

Status LlmProposer::acceptable(const Candidate& candidate, const Task& task, const PopulationView& view) const {
  std::int64_t bytes = 0;
  for (const auto& [file, text] : candidate.sources) {
    bytes += static_cast<std::int64_t>(text.size());
    const auto before = task.program->candidate.sources.find(file);
    if (before != task.program->candidate.sources.end() && before->second == text) continue;
    if (harmless_text(text, text.size()) != text) return rejected(fmt::format("hidden_characters: {} has characters that are not shown", file));
  }
  if (bytes > settings_.max_source_bytes) {
    return rejected(fmt::format("too_long: {} bytes of source, at most {} are allowed", bytes, settings_.max_source_bytes));
  }
  for (const Individual* individual : view.history) {
    if (individual->candidate == candidate) return rejected(fmt::format("duplicate: the same as candidate {}", individual->number));
  }
  return {};
}

std::int64_t LlmProposer::next_exchange(const PopulationView& view) {
  // A search that went on may show a history whose proposals this object never made.
  for (const Individual* individual : view.history) {
    const auto& record = individual->record;
    if (!record.is_object() || !record.contains("exchange") || !record["exchange"].is_number_integer()) continue;
    next_exchange_ = std::max(next_exchange_, record["exchange"].get<std::int64_t>() + 1);
  }
  return next_exchange_++;
}

Result<Proposal> LlmProposer::propose(const PopulationView& view, Random& random) {
  CHECK(view.parent != nullptr && !settings_.models.empty());
  const Task task = choose_task(view, random);
  std::vector<ModelArm> arms;
  for (const LlmModel& model : settings_.models) arms.push_back({model.name, model.weight});
  const LlmModel& model = settings_.models[choose_model(arms, model_plays(arms, view.history))];
  const std::int64_t exchange = next_exchange(view);

  const char* fix = task.block ? "fix_block" : "fix";
  PromptSubject subject = {.template_name = task.op == LlmOperator::kRepair ? fix : word(task.op),
                           .program = task.program,
                           .second = task.second,
                           .block = task.block ? &*task.block : nullptr,
                           .top = task.top,
                           .diverse = task.diverse,
                           .space = view.space};
  Random fences = fence_source(view);
  const ChatRequest request = {.model = model.name,
                               .messages = make_prompt(templates_, settings_.prompt, subject, fences),
                               .temperature = model.temperature,
                               .top_p = model.top_p,
                               .max_tokens = model.max_tokens,
                               .seed = settings_.random_seed ? std::optional(*settings_.random_seed + exchange) : std::nullopt,
                               .reasoning_effort = settings_.reasoning_effort};
  const ChatReply reply = TRY(chat_.chat(exchange, request));

  Proposal proposal = {.candidate = task.program->candidate, .parents = task.parents(), .origin = fmt::format("llm {}", word(task.op))};
  proposal.record = {{"model", model.name},
                     {"operator", word(task.op)},
                     {"exchange", exchange},
                     {"prompt_tokens", reply.used.prompt},
                     {"completion_tokens", reply.used.completion},
                     {"tokens", reply.used.total()},
                     {"cost", dollars(reply.cost)}};
  if (task.block) proposal.record["block"] = task.block_number;
  if (!reply.refusal.empty()) {
    proposal.rejected = "no_edit: the model refused: " + one_line(reply.refusal, 200);
    return proposal;
  }
  Result<Candidate> candidate = candidate_from(reply.text, task, view);
  if (candidate.ok()) {
    if (const Status status = acceptable(*candidate, task, view); !status.ok()) candidate = status.error();
  }
  if (!candidate.ok()) {
    proposal.rejected = one_line(candidate.error().message, 400);
    return proposal;
  }
  proposal.candidate = std::move(*candidate);
  return proposal;
}

}  // namespace evolora
