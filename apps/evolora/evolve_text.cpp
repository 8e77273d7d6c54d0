// The state of a search on a terminal.
#include <fmt/format.h>

#include "evolve_command.h"
#include "terminal.h"

namespace evolora {

void print_search_state(const SearchPlan& plan, const SearchState& state) {
  fmt::print("\n{} (objective {}; speed and memory against the start: above 1 is better)\n", styled(Style::kBold, "Runs"), word(plan.objective));
  fmt::print("  {:<10} {:>9} {:>11} {:>8}  {:<30} {:<30} {}\n", "proposer", "proposals", "evaluations", "seconds", "best: speed", "memory", "number");
  for (std::size_t r = 0; r < state.runs.size(); ++r) {
    const RunState& run = state.runs[r];
    const Individual* best = run.leader ? &run.population.at(*run.leader) : nullptr;
    fmt::print("  {:<10} {:>9} {:>11} {:>8.0f}  {:<30} {:<30} {}\n", plan.proposers[r], proposals_of(run), run.evaluations, run.seconds,
               best != nullptr ? ratio_text(best->judgement.log_speed) : "none above the start",
               best != nullptr ? ratio_text(best->judgement.log_memory) : "", best != nullptr ? std::to_string(best->number) : "");
  }
  const auto all = finalists(plan, state);
  if (all.empty()) return;
  fmt::print("\n{} ({} that the search never saw; p adjusted for {})\n", styled(Style::kBold, "Confirmation"), unseen_text(plan),
             adjusted_text(plan, all.size()));
  for (const Finalist& finalist : all) {
    const std::string name = fmt::format("{} {}", plan.proposers[static_cast<std::size_t>(finalist.run)], finalist.number);
    if (!finalist.confirmation) {
      fmt::print("  {:<16} not yet\n", name);
      continue;
    }
    const Judgement& judged = *finalist.confirmation;
    const std::string words = styled(finalist.accepted ? Style::kGreen : Style::kYellow, result_text(finalist, all));
    fmt::print("  {:<16} {}, p {:.2g}: {}\n", name, measured_text(judged), finalist.p, words);
    const std::string training = training_text(judged);
    if (!training.empty()) fmt::print("  {:<16} training with it: {}\n", "", training);
  }
}

}  // namespace evolora
