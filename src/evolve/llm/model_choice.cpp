// Rewards out of history, and the upper confidence bounds.
#include "evolve/llm/model_choice.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace evolora {
namespace {

const Individual* with_number(const std::vector<const Individual*>& history, std::int64_t number) {
  const auto found = std::find_if(history.begin(), history.end(), [&](const Individual* other) { return other->number == number; });
  return found == history.end() ? nullptr : *found;
}

// Above the fitness of its nearest ancestor that has one (a repaired failure has none itself); 0 if there is none. Parents have smaller numbers.
double gain_of(const Individual& individual, const std::vector<const Individual*>& history) {
  if (!individual.fitness) return 0;
  const Individual* ancestor = &individual;
  while (ancestor != nullptr && !ancestor->parents.empty() && ancestor->parents.front() < ancestor->number) {
    ancestor = with_number(history, ancestor->parents.front());
    if (ancestor != nullptr && ancestor->fitness) return std::max(0.0, *individual.fitness - *ancestor->fitness);
  }
  return 0;
}

}  // namespace

std::vector<ModelPlay> model_plays(const std::vector<ModelArm>& arms, const std::vector<const Individual*>& history) {
  std::vector<ModelPlay> plays;
  double largest = 0;
  for (const Individual* individual : history) {
    const Outcome outcome = individual->judgement.outcome;
    if (outcome == Outcome::kInconclusive || outcome == Outcome::kQuarantined) continue;
    if (!individual->record.is_object() || !individual->record.contains("model")) continue;
    const auto arm = std::find_if(arms.begin(), arms.end(), [&](const ModelArm& a) { return individual->record["model"] == a.name; });
    if (arm == arms.end()) continue;
    plays.push_back({static_cast<std::size_t>(arm - arms.begin()), gain_of(*individual, history)});
    largest = std::max(largest, plays.back().reward);
  }
  for (ModelPlay& play : plays) play.reward = largest > 0 ? play.reward / largest : 0;
  return plays;
}

std::size_t choose_model(const std::vector<ModelArm>& arms, const std::vector<ModelPlay>& plays) {
  CHECK(!arms.empty());
  std::vector<double> count(arms.size(), 0), sum(arms.size(), 0);
  for (const ModelPlay& play : plays) {
    count[play.arm] += 1;
    sum[play.arm] += play.reward;
  }
  double weights = 0;
  for (const ModelArm& arm : arms) weights += arm.weight;
  std::size_t best = 0;
  double best_bound = -1;
  for (std::size_t i = 0; i < arms.size(); ++i) {
    const double mean = count[i] > 0 ? sum[i] / count[i] : 0;
    const double bound = mean + arms[i].weight / weights * std::sqrt(static_cast<double>(plays.size()) + 1) / (1 + count[i]);
    if (bound > best_bound) {
      best = i;
      best_bound = bound;
    }
  }
  return best;
}

}  // namespace evolora
