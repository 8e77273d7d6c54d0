// Which random bits an adapter's dropout mask uses: one Philox key per (pass over a batch, adapted module).
#pragma once

#include <cstddef>
#include <cstdint>

namespace evolora {

// Mixes the pass's seed and the module's index in AdapterSet::modules() into a key (splitmix64 finaliser, Steele et al. 2014,
// doi 10.1145/2660193.2660195).
inline std::uint64_t dropout_key(std::uint64_t dropout_seed, std::size_t module_index) {
  std::uint64_t z = dropout_seed + 0x9e3779b97f4a7c15ULL * (static_cast<std::uint64_t>(module_index) + 1);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

}  // namespace evolora
