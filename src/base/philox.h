// Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): counter-based random bits.
// Dropout masks come from it: the mask of an element is a function of (key, element index), so the backward pass needs no stored mask.
#pragma once

#include <array>
#include <cstdint>

namespace evolora {

inline std::array<std::uint32_t, 4> philox4x32(std::uint64_t counter, std::uint64_t key) {
  std::array<std::uint32_t, 4> c = {static_cast<std::uint32_t>(counter), static_cast<std::uint32_t>(counter >> 32), 0, 0};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = 0xD2511F53ULL * c[0];
    const std::uint64_t p1 = 0xCD9E8D57ULL * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1), static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1,
         static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return c;
}

// Is element index of a tensor kept under dropout with probability p (0 <= p < 1)? Kept elements are multiplied by 1 / (1 - p).
inline bool dropout_keeps(std::uint64_t key, std::uint64_t index, float p) {
  const std::uint32_t bits = philox4x32(index / 4, key)[index % 4];
  return static_cast<double>(bits) >= static_cast<double>(p) * 4294967296.0;
}

}  // namespace evolora
