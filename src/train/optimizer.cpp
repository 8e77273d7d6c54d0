// Reads optimizer_config and drives the optimizer_update kernel.
#include "train/optimizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/suggest.h"

namespace evolora {
namespace {

using Json = nlohmann::ordered_json;

Error unusable(std::string message) { return Error{ErrorCode::kUsage, std::move(message)}; }

Result<double> number_in(const Json& value, const std::string& where, double low, double below) {
  const bool good = value.is_number() && value.get<double>() >= low && value.get<double>() < below;
  if (!good) return unusable(fmt::format("{}: expected a number in [{}, {}), got {}", where, low, below, value.dump()));
  return value.get<double>();
}

Status read_option(AdamOptions& options, const std::string& key, const Json& value, const std::string& where) {
  if (key == "betas") {
    if (!value.is_array() || value.size() != 2) return unusable(fmt::format("{}: expected two numbers, got {}", where, value.dump()));
    options.beta1 = TRY(number_in(value[0], where, 0, 1));
    options.beta2 = TRY(number_in(value[1], where, 0, 1));
  } else if (key == "eps") {
    options.eps = static_cast<float>(TRY(number_in(value, where, 0, HUGE_VAL)));
  } else if (key == "weight_decay") {
    options.weight_decay = static_cast<float>(TRY(number_in(value, where, 0, HUGE_VAL)));
  } else {
    if (!value.is_boolean()) return unusable(fmt::format("{}: expected true or false, got {}", where, value.dump()));
    options.bias_correction = value.get<bool>();
  }
  return {};
}

}  // namespace

Result<AdamOptions> parse_optimizer(const std::string& name, const Json& config) {
  const std::vector<std::string> ours = {"adam", "adamw"};
  const std::vector<std::string> of_mlx_lm = {"adam", "adamw", "muon", "sgd", "adafactor"};
  if (std::find(of_mlx_lm.begin(), of_mlx_lm.end(), name) == of_mlx_lm.end()) {
    return unusable(fmt::format("optimizer: unknown optimizer '{}'{}", name, did_you_mean(name, ours)));
  }
  if (std::find(ours.begin(), ours.end(), name) == ours.end()) {
    return Error{ErrorCode::kUnsupported, fmt::format("optimizer: '{}' is not supported yet; use adam or adamw", name)};
  }
  if (!config.is_object()) return unusable("optimizer_config: expected a block with one entry per optimizer");
  for (const auto& [key, value] : config.items()) {
    const bool known = std::find(of_mlx_lm.begin(), of_mlx_lm.end(), key) != of_mlx_lm.end();
    if (!known) return unusable(fmt::format("optimizer_config: unknown optimizer '{}'{}", key, did_you_mean(key, of_mlx_lm)));
  }

  AdamOptions options;
  const bool decoupled_decay = name == "adamw";
  if (decoupled_decay) options.weight_decay = 0.01F;
  if (!config.contains(name) || config[name].is_null()) return options;
  const Json& block = config[name];
  if (!block.is_object()) return unusable(fmt::format("optimizer_config.{}: expected a block of options, got {}", name, block.dump()));
  std::vector<std::string> known = {"betas", "eps", "bias_correction"};
  if (decoupled_decay) known.emplace_back("weight_decay");
  for (const auto& [key, value] : block.items()) {
    const std::string where = fmt::format("optimizer_config.{}.{}", name, key);
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return unusable(fmt::format("optimizer_config.{}: unknown key '{}'{}", name, key, did_you_mean(key, known)));
    }
    TRY(read_option(options, key, value, where));
  }
  return options;
}

AdamOptimizer::AdamOptimizer(const AdamOptions& options, std::size_t parameter_count, const KernelTable& kernels)
    : options_(options), kernels_(kernels), m_(parameter_count, 0.0F), v_(parameter_count, 0.0F) {}

void AdamOptimizer::restore(std::int64_t updates_done, const std::function<void(std::span<float>, std::span<float>)>& fill) {
  updates_done_ = updates_done;
  fill(m_, v_);
}

void AdamOptimizer::update(float* parameters, const float* gradients, float gradient_scale, float learning_rate, Threads& threads) {
  CHECK(!m_.empty());
  ++updates_done_;
  KernelContext context{.threads = threads};
  const AdamUpdate update{.parameters = parameters,
                          .gradients = gradients,
                          .m = m_.data(),
                          .v = v_.data(),
                          .count = checked_cast<std::int64_t>(m_.size()),
                          .gradient_scale = gradient_scale,
                          .learning_rate = learning_rate,
                          .beta1 = options_.beta1,
                          .beta2 = options_.beta2,
                          .eps = options_.eps,
                          .weight_decay = options_.weight_decay,
                          .bias_correction = options_.bias_correction,
                          .step = updates_done_};
  kernels_.adam_update(update, context);
}

}  // namespace evolora
