// Everything that fixes a search: written into its archive before the first evaluation and never changed, so that a resumed search is the same one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "evolve/candidate.h"
#include "evolve/fitness.h"

namespace evolora {

// 0: no limit. One of them ends the run that reaches it.
struct SearchBudget {
  std::int64_t evaluations = 0;  // judgings and re-measurements, without the baseline's own
  double seconds = 0;            // of judging
  std::int64_t tokens = 0;       // of language models, as proposals say in record.tokens
  double money = 0;              // the same, record.cost
};

struct SearchPlan {
  std::uint64_t seed = 0;
  std::vector<std::string> proposers;  // one run after the other, each with the whole budget
  Objective objective = Objective::kSpeed;
  SearchBudget budget;
  int islands = 2;
  int migration_every = 8;       // proposals per island
  double explore = 0.3;          // share of parents drawn evenly from the island's elites; of the rest the better the likelier
  std::int64_t stagnation = 0;   // evaluations without a new best that end a run; 0: none
  std::optional<double> target;  // speed-up (or saving) whose lower bound ends a run
  std::size_t settled = 6;       // measurements that the best must have before it counts as such
  std::size_t finalists = 3;     // of each run, confirmed at its end
  // Genes by which a gain costs exactness, such as lower arithmetic. If all of a run's finalists changed one, its best that changed none is one more.
  std::vector<std::string> inexact_genes;
  int confirm_looks = 1;     // how often a confirmation may be looked at; its p counts so many times (Bonferroni)
  double alpha = 0.05;       // two-sided, of all confirmations together (Holm)
  double min_effect = 0.01;  // gain that is worth a claim
  Candidate start;
  nlohmann::ordered_json judge = nlohmann::ordered_json::object();  // what the judge is made from
  nlohmann::ordered_json space = nlohmann::ordered_json::array();   // the genes, for readers
  nlohmann::ordered_json versions = nlohmann::ordered_json::object();
};

nlohmann::ordered_json search_plan_to_json(const SearchPlan& plan);
// kBadData naming source and field.
Result<SearchPlan> search_plan_from_json(const nlohmann::ordered_json& json, const std::string& source);

nlohmann::ordered_json space_to_json(const GeneSpace& space);

}  // namespace evolora
