// A plan as commands for a shell.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "report/bench_report.h"

namespace evolora {
namespace {

// JSON writes line ends inside texts as \n, so no line of it can be the mark that ends the document.
std::string here_document(const std::string& name, const nlohmann::ordered_json& json) {
  return fmt::format("cat > {} <<'END'\n{}\nEND\n", name, json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace

std::string reproduce_commands(const BenchPlan& plan) {
  nlohmann::ordered_json common = plan.common;
  common["seed"] = plan.seed;
  std::string text = here_document("common.json", common);
  text += here_document("baseline.json", arm_to_json(plan.baseline));
  text += here_document("candidate.json", arm_to_json(plan.candidate));
  text += "evolora bench --config common.json \\\n  --baseline baseline.json --candidate candidate.json";
  if (plan.design == BenchDesign::kSequential) {
    text += fmt::format(" --design sequential --trials {}", plan.trials);
  } else if (plan.precision > 0) {
    text += fmt::format(" --precision {} --max-pairs {}", plan.precision, plan.looks.back());
  } else {
    text += fmt::format(" --pairs {}", plan.looks.back());
    if (plan.looks.size() > 1) {
      text = fmt::format("# The bench was looked at after {} pairs and may have ended early; this looks once, after the last.\n",
                         fmt::join(plan.looks, ", ")) +
             text;
    }
  }
  const VerdictRules& rules = plan.rules;
  text += fmt::format(
      " \\\n  --order-seed {} --timeout {} --min-effect {} --regression-margin {} \\\n  --loss-margin {} --progress-margin {} --token-margin {}",
      plan.order_seed, plan.timeout_seconds, rules.min_effect, rules.regression_margin, rules.loss_margin, rules.progress_margin, rules.token_margin);
  return text + " --out bench-again\n";
}

}  // namespace evolora
