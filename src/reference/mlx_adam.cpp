// mlx/optimizers/optimizers.py, Adam.apply_single and AdamW.apply_single.
#include "reference/mlx_adam.h"

#include <cmath>

namespace evolora {
namespace {

mx::array scalar(double value) { return mx::array(static_cast<float>(value)); }

}  // namespace

MlxAdamRates adam_rates(const AdamOptions& options, float learning_rate, std::int64_t update) {
  MlxAdamRates rates{mx::array(learning_rate), mx::array(learning_rate), mx::array(1.0F)};
  if (!options.bias_correction) return rates;
  const auto t = static_cast<double>(update);
  rates.numerator_scale = scalar(static_cast<double>(learning_rate) / (1.0 - std::pow(options.beta1, t)));
  rates.denominator_scale = scalar(1.0 / std::sqrt(1.0 - std::pow(options.beta2, t)));
  return rates;
}

mx::array adam_update(const AdamOptions& options, const mx::array& parameter, const mx::array& gradient, const MlxAdamRates& rates,
                      MlxAdamState& state) {
  state.m = mx::add(mx::multiply(scalar(options.beta1), state.m), mx::multiply(scalar(1.0 - options.beta1), gradient));
  state.v = mx::add(mx::multiply(scalar(options.beta2), state.v), mx::multiply(scalar(1.0 - options.beta2), mx::square(gradient)));
  mx::array decayed = parameter;
  if (options.weight_decay != 0.0F) {
    const mx::array shrink = mx::subtract(mx::array(1.0F), mx::multiply(rates.learning_rate, mx::array(options.weight_decay)));
    decayed = mx::multiply(parameter, shrink);
  }
  mx::array denominator = mx::sqrt(state.v);
  if (options.bias_correction) denominator = mx::multiply(denominator, rates.denominator_scale);
  denominator = mx::add(denominator, mx::array(options.eps));
  return mx::subtract(decayed, mx::divide(mx::multiply(rates.numerator_scale, state.m), denominator));
}

}  // namespace evolora
