// Shuffling that is the same with every standard library: std::shuffle and std::uniform_int_distribution differ between them, the engine's words do
// not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <utility>

namespace evolora {

// Uniform in [0, bound), bound >= 1.
inline std::uint64_t draw_below(std::mt19937_64& random, std::uint64_t bound) {
  const std::uint64_t unfair = (0 - bound) % bound;  // 2^64 mod bound: as many of the lowest words would make small results likelier
  std::uint64_t word = random();
  while (word < unfair) word = random();
  return word % bound;
}

// Fisher and Yates, from the end.
template <typename Iterator>
void seeded_shuffle(Iterator begin, Iterator end, std::mt19937_64& random) {
  for (auto left = end - begin; left > 1; --left) {
    std::swap(begin[left - 1], begin[static_cast<std::ptrdiff_t>(draw_below(random, static_cast<std::uint64_t>(left)))]);
  }
}

}  // namespace evolora
