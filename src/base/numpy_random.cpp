// mt19937 (Matsumoto and Nishimura, 1998) as numpy's legacy interface seeds and consumes it.
#include "base/numpy_random.h"

#include <numeric>
#include <utility>

#include "base/check.h"

namespace evolora {

namespace {
constexpr std::size_t kStateWords = 624;
constexpr std::size_t kShift = 397;
constexpr std::uint32_t kMatrix = 0x9908B0DFU;
constexpr std::uint32_t kUpperBit = 0x80000000U;

std::uint32_t twist(std::uint32_t high, std::uint32_t low, std::uint32_t shifted) {
  const std::uint32_t joined = (high & kUpperBit) | (low & ~kUpperBit);
  return shifted ^ (joined >> 1) ^ ((joined & 1U) != 0 ? kMatrix : 0U);
}
}  // namespace

NumpyRandom::NumpyRandom(std::uint32_t seed) {
  state_[0] = seed;
  for (std::size_t i = 1; i < kStateWords; ++i) {
    state_[i] = 1812433253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<std::uint32_t>(i);
  }
}

std::uint32_t NumpyRandom::next_u32() {
  if (position_ == kStateWords) {
    for (std::size_t i = 0; i < kStateWords; ++i) {
      state_[i] = twist(state_[i], state_[(i + 1) % kStateWords], state_[(i + kShift) % kStateWords]);
    }
    position_ = 0;
  }
  std::uint32_t y = state_[position_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9D2C5680U;
  y ^= (y << 15) & 0xEFC60000U;
  return y ^ (y >> 18);
}

std::vector<std::int64_t> NumpyRandom::permutation(std::int64_t n) {
  CHECK(n >= 0 && n <= 0xFFFFFFFFLL);  // above, numpy draws 64 bits at a time
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i-- > 1;) {
    std::uint32_t mask = static_cast<std::uint32_t>(i);
    for (unsigned shift = 1; shift < 32; shift *= 2) {
      mask |= mask >> shift;
    }
    std::uint32_t j = next_u32() & mask;
    while (j > i) {
      j = next_u32() & mask;
    }
    std::swap(order[i], order[j]);
  }
  return order;
}

}  // namespace evolora
