// What micro-benchmarks of every target say of times.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <vector>

#include "evolve/random.h"

namespace evolora {

// The two arms of a pair in random order; true: the candidate's turn.
inline std::array<bool, 2> drawn_turns(Random& random) {
  const bool candidate_first = random.below(2) == 0;
  return {candidate_first, !candidate_first};
}

// Of an odd number of values, or the upper of the two in the middle. At least one.
inline double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace evolora
