// A judgement as `evolora judge --json` prints it: one flat object for other programs' searches. docs/evolve_llm.md says what other programs read.
#pragma once

#include <optional>

#include <nlohmann/json.hpp>

#include "evolve/judge.h"

namespace evolora {

// Always: "outcome", "gate", "reason", "artifact", "pairs", "seconds", "details". Of a scored candidate only: "combined_score" = exp(fitness), the
// lower confidence bound of baseline / candidate as a ratio, always above 0; "speedup" and "memory_saving", the geometric means of what was measured.
// What has no score has none of the three: a caller that needs a number takes 0, which is below all. fitness: lower bound of the objective in
// logarithms; present exactly if the candidate was scored and measured.
nlohmann::ordered_json judge_answer(const Judgement& judgement, std::optional<double> fitness);

}  // namespace evolora
