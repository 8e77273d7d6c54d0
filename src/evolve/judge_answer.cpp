// Ratios instead of logarithms, and no number where there is none.
#include "evolve/judge_answer.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"
#include "measure/estimators.h"

namespace evolora {
namespace {

// exp() that stays a finite number above 0: JSON has no infinity, and 0 means "no score".
double ratio_of(double logarithm) {
  CHECK(!std::isnan(logarithm));
  const double widest = std::log(std::numeric_limits<double>::max()) - 1;
  return std::exp(std::clamp(logarithm, -widest, widest));
}

}  // namespace

nlohmann::ordered_json judge_answer(const Judgement& judgement, std::optional<double> fitness) {
  const bool scored = judgement.outcome == Outcome::kScored && fitness.has_value();
  nlohmann::ordered_json answer = {{"outcome", word(judgement.outcome)}, {"gate", judgement.gate}, {"reason", judgement.reason}};
  if (scored) {
    answer["combined_score"] = ratio_of(*fitness);
    if (!judgement.log_speed.empty()) answer["speedup"] = ratio_of(summarize(judgement.log_speed).mean);
    if (!judgement.log_memory.empty()) answer["memory_saving"] = ratio_of(summarize(judgement.log_memory).mean);
  }
  answer["pairs"] = std::max(judgement.log_speed.size(), judgement.log_memory.size());
  answer["artifact"] = judgement.artifact;
  answer["seconds"] = judgement.seconds;
  answer["details"] = judgement.details;
  return answer;
}

}  // namespace evolora
