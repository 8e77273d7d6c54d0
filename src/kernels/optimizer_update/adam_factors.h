// The scalars of an Adam step as MLX rounds them: Python floats and fp32 array scalars meet in fp32, one operation at a time.
#pragma once

#include <cmath>

#include "kernels/optimizer_update/contract.h"

namespace evolora {

// w' = decay w - numerator m' / (denominator sqrt(v') + eps). Factors of 1 change no bit, so they need no branch.
struct AdamFactors {
  float b1;
  float one_minus_b1;
  float b2;
  float one_minus_b2;
  float numerator;
  float denominator;
  float decay;
};

inline AdamFactors adam_factors(const AdamUpdate& args) {
  AdamFactors f{};
  f.b1 = static_cast<float>(args.beta1);
  f.one_minus_b1 = static_cast<float>(1.0 - args.beta1);
  f.b2 = static_cast<float>(args.beta2);
  f.one_minus_b2 = static_cast<float>(1.0 - args.beta2);
  f.numerator = args.learning_rate;
  f.denominator = 1.0f;
  if (args.bias_correction) {
    const auto step = static_cast<float>(args.step);
    const float left1 = 1.0f - std::pow(f.b1, step);
    const float left2 = 1.0f - std::pow(f.b2, step);
    f.numerator = args.learning_rate / left1;
    f.denominator = 1.0f / std::sqrt(left2);
  }
  const float decayed = args.learning_rate * args.weight_decay;
  f.decay = 1.0f - decayed;
  return f;
}

}  // namespace evolora
