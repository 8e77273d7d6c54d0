// Numbers that problems of every target are made of: what inputs are drawn from, and how far off a sum may be.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numbers>
#include <vector>

#include "base/dtype.h"
#include "evolve/random.h"

namespace evolora {

inline std::size_t count_of(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a * b); }

// Nearly normal, standard deviation 1: the sum of four uniform numbers, of one draw of bits.
inline float draw(Random& random) {
  const std::uint64_t bits = random.bits();
  double sum = -2.0 * 65535;
  for (int part = 0; part < 4; ++part) sum += static_cast<double>(bits >> (16 * part) & 65535U);
  return static_cast<float>(sum / 65536 * std::numbers::sqrt3);
}

inline std::vector<float> draws(Random& random, std::size_t count, float scale) {
  std::vector<float> values(count);
  for (float& value : values) value = scale * draw(random);
  return values;
}

inline double unit_roundoff(DType dtype) { return dtype == DType::kF32 ? 0x1p-24 : dtype == DType::kF16 ? 0x1p-11 : 0x1p-8; }

// Of the magnitudes of a sum of so many terms (Higham & Mary 2019).
inline double tolerance_factor(double terms, DType dtype = DType::kF32) { return 6 * std::sqrt(terms) * unit_roundoff(dtype); }

}  // namespace evolora
