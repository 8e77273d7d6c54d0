// The step: loss, gradients and update as one function of arrays, run eagerly or compiled.
#include "reference/mlx_engine.h"

#include <mlx/memory.h>
#include <mlx/random.h>

#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>
#include <stdexcept>

#include <fmt/format.h>

#include "reference/mlx_adam.h"
#include "reference/mlx_graph.h"

namespace evolora {
namespace {

using Arrays = std::vector<mx::array>;
using ArrayFunction = std::function<Arrays(const Arrays&)>;

// What a step function is built for; MLX compiles each once per shape.
struct StepKind {
  bool has_gathered = false;  // gradients of earlier batches of the window are added
  bool updates = false;
  bool averages = false;  // the gradients are divided before the update
  auto operator<=>(const StepKind&) const = default;
};

// Reads a flat list in order.
class Reader {
 public:
  explicit Reader(const Arrays& arrays) : arrays_(arrays) {}
  Arrays take(std::size_t count) {
    const auto begin = arrays_.begin() + static_cast<std::ptrdiff_t>(next_);
    next_ += count;
    return Arrays(begin, begin + static_cast<std::ptrdiff_t>(count));
  }
  mx::array one() { return arrays_[next_++]; }

 private:
  const Arrays& arrays_;
  std::size_t next_ = 0;
};

void append(Arrays& to, const Arrays& from) { to.insert(to.end(), from.begin(), from.end()); }

class MlxStepEngine : public StepEngine {
 public:
  MlxStepEngine(const MlxEngineOptions& options, const ModelWeights& weights, AdapterSet& adapters, std::shared_ptr<const MlxPack> pack)
      : options_(options),
        adapters_(adapters),
        graph_({options.recipe, options.grad_checkpoint, options.head_rows_per_chunk, std::move(pack)}, weights, adapters),
        parameters_(graph_.parameters_from(adapters.parameters())),
        calls_(weights.spec().num_layers, adapters, options.pack_name),
        counting_(calls_) {
    const MlxStep step = options.recipe.step;
    compiled_ = step == MlxStep::kCompiled || (step == MlxStep::kDeviceDefault && options.device == MlxDevice::kGpu);
    mx::clear_cache();
    mx::reset_peak_memory();
  }

  Result<double> train_on(const Batch& batch, double loss_scale, std::uint64_t dropout_seed, const std::optional<StepUpdate>& update) override {
    try {
      return step(batch, loss_scale, dropout_seed, update);
    } catch (const std::exception& e) {
      return failure(e);
    }
  }

  Result<double> loss_sum(const Batch& batch) override {
    try {
      mx::array sum = graph_.loss_sum(parameters_, batch_arrays(batch), nullptr, calls_);
      const auto value = static_cast<double>(sum.item<float>());
      if (!options_.recipe.keep_buffers) mx::clear_cache();
      return value;
    } catch (const std::exception& e) {
      return failure(e);
    }
  }

  std::int64_t updates_done() const override { return updates_; }

  Status store_parameters() override {
    try {
      graph_.copy_parameters(parameters_, adapters_.parameters());
      return {};
    } catch (const std::exception& e) {
      return failure(e);
    }
  }

  Result<std::vector<float>> gradients() override {
    try {
      std::vector<float> flat(adapters_.parameter_count(), 0.0F);
      if (!gathered_.empty()) graph_.copy_parameters(gathered_, flat.data());
      return flat;
    } catch (const std::exception& e) {
      return failure(e);
    }
  }

  nlohmann::ordered_json record() const override {
    const MlxSlotPlan& plan = graph_.plan();
    nlohmann::ordered_json slots;
    for (const auto& [slot, kinds] : plan.counts) slots[slot] = kinds;
    slots["head_loss"] = word(options_.recipe.head_loss);
    nlohmann::ordered_json fallbacks = nlohmann::ordered_json::array();
    for (const auto& [what, layers] : plan.fallbacks) fallbacks.push_back({{"slot", what.first}, {"reason", what.second}, {"layers", layers}});
    nlohmann::ordered_json record = {{"name", "mlx"},
                                     {"mlx_version", mx::version()},
                                     {"device", options_.device == MlxDevice::kGpu ? "gpu" : "cpu"},
                                     {"step", compiled_ ? "compiled" : "eager"},
                                     {"recipe", mlx_recipe_to_json(options_.recipe)},
                                     {"layers", slots},
                                     {"fallbacks", fallbacks},
                                     {"peak_bytes", mx::get_peak_memory()}};
    if (!options_.pack_name.empty()) record["pack"] = options_.pack_name;
    return record;
  }

  nlohmann::ordered_json calls() const override { return calls_.to_json(); }

 private:
  static Error failure(const std::exception& e) { return Error{ErrorCode::kInternal, fmt::format("MLX: {}", e.what())}; }

  MlxBatch batch_arrays(const Batch& batch) const {
    constexpr std::int64_t kCompiledRowMultiple = 128;
    return make_mlx_batch(batch, options_.recipe.head_loss, options_.max_input_tokens, compiled_ ? kCompiledRowMultiple : 1);
  }

  double step(const Batch& batch, double loss_scale, std::uint64_t dropout_seed, const std::optional<StepUpdate>& update) {
    const std::size_t count = graph_.parameter_arrays();
    const StepKind kind{!gathered_.empty(), update.has_value(), update && update->gradient_scale != 1.0F};
    const MlxBatch arrays = batch_arrays(batch);
    Arrays in = parameters_;
    append(in, gathered_);
    if (kind.updates) {
      if (first_moments_.empty()) {
        for (const mx::array& p : parameters_) first_moments_.push_back(mx::zeros_like(p));
        second_moments_ = first_moments_;
      }
      append(in, first_moments_);
      append(in, second_moments_);
      const MlxAdamRates rates = adam_rates(options_.adam, update->learning_rate, updates_ + 1);
      append(in, {rates.learning_rate, rates.numerator_scale, rates.denominator_scale});
      // mlx-lm divides by the number of accumulation steps.
      in.push_back(mx::array(static_cast<float>(1.0 / static_cast<double>(update->gradient_scale))));
    }
    in.push_back(arrays.tokens);
    append(in, arrays.loss);
    // mlx-lm divides by the number of supervised tokens: 1 / (1 / n) is n again.
    const double divisor = 1.0 / loss_scale;
    in.push_back(mx::array(static_cast<float>(divisor)));
    if (has_dropout()) in.push_back(mx::random::split(mx::random::key(dropout_seed), static_cast<int>(graph_.module_count())));

    Arrays out = counted_call(kind, in);
    mx::eval(out);
    const auto loss = static_cast<double>(out.front().item<float>());
    if (!std::isfinite(loss)) return loss;
    Reader reader(out);
    reader.one();
    if (kind.updates) {
      parameters_ = reader.take(count);
      first_moments_ = reader.take(count);
      second_moments_ = reader.take(count);
      gathered_.clear();
      ++updates_;
    } else {
      gathered_ = reader.take(count);
    }
    out.clear();
    in.clear();
    if (!options_.recipe.keep_buffers) mx::clear_cache();
    return loss * divisor;
  }

  bool has_dropout() const { return adapters_.options().dropout > 0.0F; }

  // Calls are counted while the graph is made. A compiled function that MLX has for a shape already is run without making it again: it calls what was
  // counted before, because slots do not depend on shapes.
  Arrays counted_call(const StepKind& kind, const Arrays& in) {
    counting_.clear();
    Arrays out = function(kind)(in);
    if (!counting_.empty()) traced_calls_.insert_or_assign(kind, counting_);
    calls_.add(traced_calls_.at(kind));
    return out;
  }

  const ArrayFunction& function(const StepKind& kind) {
    const auto found = functions_.find(kind);
    if (found != functions_.end()) return found->second;
    const ArrayFunction plain = [this, kind](const Arrays& in) { return trace(kind, in); };
    return functions_.emplace(kind, compiled_ ? mx::compile(plain) : plain).first->second;
  }

  // in: parameters, [gathered], [m, v, three rates, averaging divisor], tokens, loss arrays, loss divisor, [dropout keys]
  // -> loss, then new parameters, m, v; or the gathered gradients.
  Arrays trace(const StepKind& kind, const Arrays& in) {
    const std::size_t count = graph_.parameter_arrays();
    Reader reader(in);
    const Arrays parameters = reader.take(count);
    const Arrays gathered = kind.has_gathered ? reader.take(count) : Arrays();
    Arrays m = kind.updates ? reader.take(count) : Arrays();
    Arrays v = kind.updates ? reader.take(count) : Arrays();
    const Arrays rates = kind.updates ? reader.take(4) : Arrays();
    const mx::array tokens = reader.one();
    const MlxBatch batch{tokens, reader.take(options_.recipe.head_loss == MlxHeadLoss::kOptimized ? 3 : 2)};
    const mx::array divisor = reader.one();
    const Arrays keys = has_dropout() ? reader.take(1) : Arrays();

    std::vector<int> all(count);
    for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<int>(i);
    const std::function<mx::array(const Arrays&)> loss = [&](const Arrays& p) {
      return mx::divide(graph_.loss_sum(p, batch, keys.empty() ? nullptr : &keys[0], counting_), divisor);
    };
    auto [value, gradients] = mx::value_and_grad(loss, all)(parameters);
    counting_.add_autodiff_backward();
    Arrays out = {value};
    if (kind.has_gathered) {
      for (std::size_t i = 0; i < count; ++i) gradients[i] = mx::add(gradients[i], gathered[i]);
    }
    if (!kind.updates) {
      append(out, gradients);
      return out;
    }
    const MlxAdamRates step_rates{rates[0], rates[1], rates[2]};
    for (std::size_t i = 0; i < count; ++i) {
      const mx::array gradient = kind.averages ? mx::divide(gradients[i], rates[3]) : gradients[i];
      MlxAdamState state{m[i], v[i]};
      out.push_back(adam_update(options_.adam, parameters[i], gradient, step_rates, state));
      m[i] = state.m;
      v[i] = state.v;
    }
    append(out, m);
    append(out, v);
    return out;
  }

  MlxEngineOptions options_;
  AdapterSet& adapters_;
  MlxGraph graph_;
  bool compiled_ = false;
  Arrays parameters_;
  Arrays gathered_;  // empty: none since the last update
  Arrays first_moments_;
  Arrays second_moments_;
  std::int64_t updates_ = 0;
  std::map<StepKind, ArrayFunction> functions_;
  MlxCalls calls_;     // of everything that ran
  MlxCalls counting_;  // of the step function that is being traced
  std::map<StepKind, MlxCalls> traced_calls_;
};

// As mlx_lm.tuner.trainer: where the device names a working set (Metal), keep it wired.
void set_recommended_wired_limit() {
  const auto& info = mx::device_info();
  const auto found = info.find("max_recommended_working_set_size");
  if (found == info.end()) return;
  if (const auto* bytes = std::get_if<std::size_t>(&found->second)) mx::set_wired_limit(*bytes);
}

// MLX reads them when the device is first used.
void limit_graphs() {
  constexpr int kKeepWhatTheUserSet = 0;
  setenv("MLX_MAX_OPS_PER_BUFFER", "40", kKeepWhatTheUserSet);
  setenv("MLX_MAX_MB_PER_BUFFER", "200", kKeepWhatTheUserSet);
}

}  // namespace

Result<std::unique_ptr<StepEngine>> make_mlx_engine(const MlxEngineOptions& options, const ModelWeights& weights, AdapterSet& adapters) {
  try {
    const bool gpu = options.device == MlxDevice::kGpu;
    if (gpu && options.recipe.graphs == MlxGraphs::kSmall) limit_graphs();
    const mx::Device device(gpu ? mx::Device::gpu : mx::Device::cpu);
    if (!mx::is_available(device)) {
      return Error{ErrorCode::kUnsupported,
                   fmt::format("--device {}: the MLX library at hand ({}) has no such device; use --device cpu, or put a library for this machine's "
                               "GPU first in LD_LIBRARY_PATH",
                               gpu ? "gpu" : "cpu", mx::version())};
    }
    mx::set_default_device(device);
    if (gpu) set_recommended_wired_limit();
    std::shared_ptr<const MlxPack> pack;
    if (!options.pack_library.empty()) pack = TRY(MlxPack::load(options.pack_library, options.pack_name));
    return std::unique_ptr<StepEngine>(std::make_unique<MlxStepEngine>(options, weights, adapters, std::move(pack)));
  } catch (const std::exception& e) {
    return Error{ErrorCode::kInternal, fmt::format("MLX: {}", e.what())};
  }
}

}  // namespace evolora
