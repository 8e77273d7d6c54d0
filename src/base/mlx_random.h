// MLX's generator (mx.random): threefry2x32 keys, global key sequence, uniform floats. mlx-lm's adapter initialisation comes from it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace evolora {

using MlxKey = std::array<std::uint32_t, 2>;

class MlxRandom {
 public:
  explicit MlxRandom(std::uint64_t seed);  // mx.random.seed(seed)
  MlxKey next_key();                       // what an op without an explicit key uses; advances the global state

 private:
  MlxKey key_;
};

// mx.random.uniform(low, high, shape=(out.size(),), dtype=float32, key=key), bit-exact.
void mlx_uniform(const MlxKey& key, float low, float high, std::span<float> out);

}  // namespace evolora
