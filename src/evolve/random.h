// The random numbers of a search: Philox by (seed, stream, counter), so that any proposal's numbers can be made again without those before it, on
// every platform the same.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "base/philox.h"

namespace evolora {

class Random {
 public:
  // stream: the number of the proposal. Same (seed, stream): same numbers.
  Random(std::uint64_t seed, std::uint64_t stream) : key_(mix(seed) ^ mix(stream + 0x9E3779B97F4A7C15ULL)) {}

  std::uint64_t bits() {
    const auto block = philox4x32(counter_++, key_);
    return static_cast<std::uint64_t>(block[0]) << 32 | block[1];
  }
  // In [0, 1), 53 bits.
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
  // In [0, n), n >= 1. The bias of the remainder is below n / 2^64.
  std::size_t below(std::size_t n) {
    CHECK(n >= 1);
    return static_cast<std::size_t>(bits() % n);
  }

 private:
  // SplitMix64's finalizer (Steele, Lea & Flood 2014).
  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
  }
  std::uint64_t key_;
  std::uint64_t counter_ = 0;
};

}  // namespace evolora
