// Members, grids, migration.
#include "evolve/population.h"

#include <algorithm>
#include <map>

#include "base/check.h"

namespace evolora {
namespace {

bool fitter(const Individual* a, const Individual* b) { return *a->fitness != *b->fitness ? *a->fitness > *b->fitness : a->number < b->number; }

// The baseline stands for itself at exactly nothing gained.
bool beats(const Individual& a, const Individual& b) {
  if (a.number == 0 || b.number == 0) {
    const Judgement& other = (a.number == 0 ? b : a).judgement;
    const double speed = lower_bound(other.log_speed);
    const double memory = lower_bound(other.log_memory);
    const double sign = a.number == 0 ? -1 : 1;
    return sign * speed >= 0 && sign * memory >= 0 && (speed != 0 || memory != 0);
  }
  return dominates(a.judgement, b.judgement);
}

}  // namespace

void Population::add(Individual individual) {
  CHECK(individual.number == size());
  migrants_.resize(static_cast<std::size_t>(islands_));
  update_fitness(individual);
  individuals_.push_back(std::move(individual));
  const std::int64_t proposals = size() - 1;
  if (proposals > 0 && proposals % (std::int64_t{islands_} * migration_every_) == 0) migrate();
}

void Population::add_measurement(std::int64_t number, const Judgement& more) {
  CHECK(number >= 0 && number < size());
  Individual& one = individuals_[static_cast<std::size_t>(number)];
  Judgement& judgement = one.judgement;
  judgement.seconds += more.seconds;
  if (more.outcome == Outcome::kInconclusive) return;
  if (more.outcome != Outcome::kScored) {
    judgement.outcome = more.outcome;
    judgement.gate = more.gate;
    judgement.reason = more.reason;
    judgement.artifact = more.artifact;
  }
  judgement.log_speed.insert(judgement.log_speed.end(), more.log_speed.begin(), more.log_speed.end());
  judgement.log_memory.insert(judgement.log_memory.end(), more.log_memory.begin(), more.log_memory.end());
  update_fitness(one);
}

void Population::update_fitness(Individual& individual) const {
  individual.fitness = individual.rejected.empty() ? fitness_of(objective_, individual.judgement) : std::nullopt;
  if (individual.number == 0 && individual.fitness) individual.fitness = 0.0;
}

std::vector<const Individual*> Population::history() const {
  std::vector<const Individual*> out;
  for (const Individual& each : individuals_) out.push_back(&each);
  return out;
}

std::vector<const Individual*> Population::elites(int island) const {
  std::map<std::vector<int>, const Individual*> grid;
  const auto offer = [&](const Individual& one) {
    if (!one.fitness) return;
    const Individual*& place = grid[one.judgement.cell];
    if (place == nullptr || fitter(&one, place)) place = &one;
  };
  for (const Individual& each : individuals_) {
    if (each.number == 0 || each.island == island) offer(each);
  }
  if (!migrants_.empty()) {
    for (const std::int64_t number : migrants_[static_cast<std::size_t>(island)]) offer(at(number));
  }
  std::vector<const Individual*> out;
  for (const auto& [cell, one] : grid) out.push_back(one);
  std::sort(out.begin(), out.end(), fitter);
  return out;
}

std::vector<const Individual*> Population::best() const {
  std::vector<const Individual*> out;
  for (const Individual& each : individuals_) {
    if (each.fitness) out.push_back(&each);
  }
  if (objective_ != Objective::kBoth) {
    std::sort(out.begin(), out.end(), fitter);
    return out;
  }
  std::map<const Individual*, std::size_t> dominated_by;
  for (const Individual* one : out) {
    dominated_by[one] =
        static_cast<std::size_t>(std::count_if(out.begin(), out.end(), [&](const Individual* other) { return other != one && beats(*other, *one); }));
  }
  std::sort(out.begin(), out.end(), [&](const Individual* a, const Individual* b) {
    return dominated_by[a] != dominated_by[b] ? dominated_by[a] < dominated_by[b] : fitter(a, b);
  });
  return out;
}

std::vector<const Individual*> Population::pareto_front() const {
  std::vector<const Individual*> out;
  const auto has_both = [](const Individual& one) { return one.fitness && !one.judgement.log_speed.empty() && !one.judgement.log_memory.empty(); };
  for (const Individual& one : individuals_) {
    if (!has_both(one)) continue;
    const bool beaten = std::any_of(individuals_.begin(), individuals_.end(),
                                    [&](const Individual& other) { return has_both(other) && &other != &one && beats(other, one); });
    if (!beaten) out.push_back(&one);
  }
  return out;
}

void Population::migrate() {
  // All leave before any arrives, so that nobody travels twice in one migration.
  std::vector<const Individual*> travellers(static_cast<std::size_t>(islands_), nullptr);
  for (int island = 0; island < islands_; ++island) {
    for (const Individual* elite : elites(island)) {
      if (elite->number == 0 || elite->island != island) continue;
      travellers[static_cast<std::size_t>(island)] = elite;
      break;
    }
  }
  for (int island = 0; island < islands_; ++island) {
    const Individual* traveller = travellers[static_cast<std::size_t>(island)];
    if (traveller != nullptr) migrants_[static_cast<std::size_t>((island + 1) % islands_)].push_back(traveller->number);
  }
}

}  // namespace evolora
