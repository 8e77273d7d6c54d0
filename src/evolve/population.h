// One run's individuals: islands, each a MAP-Elites grid over Judgement::cell (Mouret & Clune 2015) with fixed bins, and who is best. A pure function
// of the events that were applied, in order; grids are made from the members when asked for, so a re-measured elite never keeps a stale place.
#pragma once

#include <deque>
#include <vector>

#include "evolve/fitness.h"
#include "evolve/proposer.h"

namespace evolora {

class Population {
 public:
  // migration_every: proposals per island between two migrations; each time the best native of every island becomes a member of the next one.
  Population(Objective objective, int islands, int migration_every) : objective_(objective), islands_(islands), migration_every_(migration_every) {}

  // number must be size(). Number 0 is the baseline: a member of every island, of fitness 0 by definition (its own measurements are an A/A control).
  void add(Individual individual);
  // A further measurement: numbers are appended; an outcome other than scored or inconclusive replaces the one that was there.
  void add_measurement(std::int64_t number, const Judgement& more);

  std::int64_t size() const { return static_cast<std::int64_t>(individuals_.size()); }
  const Individual& at(std::int64_t number) const { return individuals_[static_cast<std::size_t>(number)]; }
  std::vector<const Individual*> history() const;
  // Of the cells of an island the best each; best first, equal ones by number.
  std::vector<const Individual*> elites(int island) const;
  // All scored ones, best first. Objective kBoth: by how many dominate them, then by fitness; the first ones are the Pareto front.
  std::vector<const Individual*> best() const;
  // Those that nothing dominates in speed and memory, whatever the objective; by number. Only what has both measured.
  std::vector<const Individual*> pareto_front() const;

  int island_of(std::int64_t number) const { return number == 0 ? 0 : static_cast<int>((number - 1) % islands_); }

 private:
  void migrate();
  void update_fitness(Individual& individual) const;

  Objective objective_;
  int islands_;
  int migration_every_;
  std::deque<Individual> individuals_;               // stable addresses
  std::vector<std::vector<std::int64_t>> migrants_;  // of each island, numbers
};

}  // namespace evolora
