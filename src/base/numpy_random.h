// numpy's legacy global generator (np.random.seed / np.random.permutation): mt19937 with Knuth initialisation and masked rejection. mlx-lm's batch
// order comes from it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace evolora {

class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed);
  std::uint32_t next_u32();
  // np.random.permutation(n): shuffled 0..n-1, bit-exact.
  std::vector<std::int64_t> permutation(std::int64_t n);

 private:
  std::array<std::uint32_t, 624> state_{};
  std::size_t position_ = 624;
};

}  // namespace evolora
