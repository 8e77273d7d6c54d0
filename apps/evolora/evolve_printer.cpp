// One line for every event.
#include "evolve_printer.h"

#include <fmt/format.h>

#include <algorithm>

#include "evolve_command.h"
#include "terminal.h"

namespace evolora {
namespace {

class EvolvePrinter : public SearchObserver {
 public:
  explicit EvolvePrinter(const SearchPlan& plan) : plan_(plan) {}

  void on_run_start(int run, const RunState& state) override {
    fmt::print("{}{}\n", styled(Style::kBold, fmt::format("Run {}: {}", run, plan_.proposers[static_cast<std::size_t>(run)])),
               state.population.size() > 0 ? fmt::format(", going on after {} individuals", state.population.size()) : "");
    std::fflush(stdout);
  }

  void on_event(const SearchEvent& event, const RunState& state) override {
    if (event.kind == MeasurementKind::kConfirm) {
      fmt::print("  {}: {}, {:.1f} s\n", word(event.judgement.outcome), measured_text(event.judgement), event.judgement.seconds);
      const std::string training = training_text(event.judgement);
      if (!training.empty()) fmt::print("  training with it: {}\n", training);
    } else {
      const Individual& one = state.population.at(event.number);
      const bool leads = state.leader == one.number;
      const std::string what = event.kind == MeasurementKind::kAgain ? "again" : one.origin;
      const std::string result = one.judgement.outcome == Outcome::kScored
                                     ? measured_text(one.judgement)
                                     : fmt::format("{} at {}: {}", word(one.judgement.outcome), one.judgement.gate, one.judgement.reason);
      fmt::print("{:>5}  {:<24} {}{}{}\n", one.number, what, result, leads ? styled(Style::kGreen, "  best") : "", left(state));
    }
    std::fflush(stdout);
  }

  void on_run_end(int /*run*/, const RunState& state) override { fmt::print("Ended: {}\n", state.ended); }

  void on_confirm_start(const Finalist& finalist, std::size_t index, std::size_t count) override {
    fmt::print("Confirming {} of {}: individual {} of {}\n", index + 1, count, finalist.number,
               plan_.proposers[static_cast<std::size_t>(finalist.run)]);
    std::fflush(stdout);
  }

 private:
  std::string left(const RunState& state) const {
    if (state.evaluations == 0) return "";
    const double each = state.seconds / static_cast<double>(state.evaluations);
    double seconds = 0;
    if (plan_.budget.evaluations > 0) seconds = each * static_cast<double>(plan_.budget.evaluations - state.evaluations);
    if (plan_.budget.seconds > 0) {
      const double rest = plan_.budget.seconds - state.seconds;
      seconds = seconds > 0 ? std::min(seconds, rest) : rest;
    }
    return seconds > 0 ? styled(Style::kDim, fmt::format("  {} left", human_duration(seconds))) : "";
  }

  const SearchPlan& plan_;
};

}  // namespace

std::unique_ptr<SearchObserver> make_search_printer(const SearchPlan& plan) { return std::make_unique<EvolvePrinter>(plan); }

}  // namespace evolora
