// Threefry-2x32 with 20 rounds (Salmon et al., SC 2011), keyed and counted as MLX does it.
#include "base/mlx_random.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <utility>

namespace evolora {

namespace {

std::pair<std::uint32_t, std::uint32_t> threefry2x32(const MlxKey& key, std::uint32_t c0, std::uint32_t c1) {
  constexpr int kRotations[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  const std::array<std::uint32_t, 3> schedule = {key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDAU};
  c0 += schedule[0];
  c1 += schedule[1];
  for (std::uint32_t block = 0; block < 5; ++block) {
    for (const int rotation : kRotations[block % 2]) {
      c0 += c1;
      c1 = std::rotl(c1, rotation) ^ c0;
    }
    c0 += schedule[(block + 1) % 3];
    c1 += schedule[(block + 2) % 3] + block + 1;
  }
  return {c0, c1};
}

// MLX's random bits of n words: word i and word i + ceil(n/2) come from one hash of those two counters; for odd n the middle word stands alone.
template <typename Write>
void for_each_word(const MlxKey& key, std::size_t n, Write write) {
  const std::size_t half = n / 2;
  const std::size_t second = half + n % 2;
  for (std::size_t i = 0; i < half; ++i) {
    const auto [a, b] = threefry2x32(key, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(second + i));
    write(i, a);
    write(second + i, b);
  }
  if (n % 2 == 1) {
    write(half, threefry2x32(key, static_cast<std::uint32_t>(half), 0).first);
  }
}

}  // namespace

MlxRandom::MlxRandom(std::uint64_t seed) : key_{static_cast<std::uint32_t>(seed >> 32), static_cast<std::uint32_t>(seed)} {}

MlxKey MlxRandom::next_key() {
  std::array<std::uint32_t, 4> words{};
  for_each_word(key_, words.size(), [&](std::size_t i, std::uint32_t word) { words[i] = word; });
  key_ = {words[0], words[1]};
  return {words[2], words[3]};
}

void mlx_uniform(const MlxKey& key, float low, float high, std::span<float> out) {
  // Each step rounds to fp32 as MLX's separate operations do; the largest word divided by 2^32 would round to 1, which MLX clips.
  const float range = high - low;
  const float upper = std::nextafter(1.0F, 0.0F);
  const auto divisor = static_cast<float>(std::numeric_limits<std::uint32_t>::max());
  for_each_word(key, out.size(), [&](std::size_t i, std::uint32_t word) {
    const float unit = std::min(static_cast<float>(word) / divisor, upper);
    const volatile float scaled = range * unit;  // volatile: a fused multiply-add would round once instead of twice
    out[i] = scaled + low;
  });
}

}  // namespace evolora
