// Counting a model's layers and comparing two kernel sets on it.
#include "measure/doctor_model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/philox.h"
#include "engine/training_engine.h"
#include "kernels/kernel_table.h"
#include "train/clock.h"
#include "train/loaded_model.h"

namespace evolora {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

float uniform(std::uint64_t seed, std::uint64_t index) { return static_cast<float>(philox4x32(index, seed)[0]) / 2147483648.0F - 1.0F; }

std::string format_of(const WeightView& weight) {
  return weight.quantized() ? fmt::format("{}-bit group {}", weight.bits, weight.group_size) : std::string(dtype_name(weight.dtype));
}

Finding layers_by_kind(const ModelWeights& weights) {
  std::map<std::string, int> kinds;
  for (std::int64_t layer = 0; layer < weights.spec().num_layers; ++layer) {
    for (const LinearWeights& linear : weights.layer(layer).linears) ++kinds[format_of(linear.weight)];
  }
  std::vector<std::string> texts;
  for (const auto& [kind, count] : kinds) texts.push_back(fmt::format("{} x {}", count, kind));
  return {"layers", Health::kGood,
          fmt::format("{} blocks; linears: {}; embedding {}, head {}", weights.spec().num_layers, fmt::join(texts, ", "),
                      format_of(weights.embedding()), weights.spec().tie_word_embeddings ? "tied" : format_of(weights.head()))};
}

Batch random_batch(std::int64_t vocab, int tokens) {
  Batch batch;
  for (int i = 0; i < tokens; ++i) {
    const auto token = [&](std::uint64_t seed) {
      return static_cast<std::int32_t>(philox4x32(static_cast<std::uint64_t>(i), seed)[0] % static_cast<std::uint64_t>(vocab));
    };
    batch.tokens.push_back(token(1));
    batch.positions.push_back(i);
    batch.loss_rows.push_back(i);
    batch.targets.push_back(token(2));
  }
  batch.segment_starts = {0, tokens};
  batch.real_tokens = tokens;
  return batch;
}

struct Step {
  double loss = 0;
  std::vector<float> gradients;
  CallCounts counts;
};

Step run_step(const ModelWeights& weights, AdapterSet& adapters, KernelSet kernels, const Batch& batch) {
  Threads threads(0);
  Recipe recipe;
  recipe.kernels = kernels;
  TrainingEngine engine(weights, adapters, recipe, threads);
  engine.reserve(engine.arena_bytes_for(batch, true));
  Step step;
  step.loss = engine.forward_backward(batch, 1.0 / static_cast<double>(batch.supervised_count()), 0);
  step.gradients.assign(engine.gradients(), engine.gradients() + engine.gradient_count());
  step.counts = engine.call_counts();
  return step;
}

double norm_of(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += static_cast<double>(value) * value;
  return std::sqrt(sum);
}

std::vector<Finding> compare_steps(const LoadedModel& model) {
  const ModelSpec& spec = model.weights.spec();
  // The reference kernels are plain fp64 loops at about half a GFLOP/s; few tokens keep the test below ten seconds for the models this engine is made
  // for.
  constexpr double kFlopsBudget = 3e9;
  const double per_token = 2.0 * static_cast<double>(parameter_count(model.weights));
  const int tokens = static_cast<int>(std::clamp(kFlopsBudget / per_token, 2.0, 32.0));
  AdapterOptions options;
  options.num_layers = 1;
  auto adapters = AdapterSet::create(spec, options);
  if (!adapters.ok()) return {{"self-test", Health::kBad, adapters.error().message}};
  for (std::size_t i = 0; i < adapters->parameter_count(); ++i) adapters->parameters()[i] = 0.02F * uniform(3, i);
  const Batch batch = random_batch(spec.vocab_size, tokens);
  const double start = monotonic_seconds();
  const Step reference = run_step(model.weights, *adapters, KernelSet::kReference, batch);
  const Step fast = run_step(model.weights, *adapters, KernelSet::kCpu, batch);
  const double seconds = monotonic_seconds() - start;

  // Rounding through L blocks of some 20 dependent sums of K terms adds up like a random walk, eps sqrt(20 L K) of the norm; 8 is headroom.
  const double terms = 20.0 * static_cast<double>(spec.num_layers * std::max(spec.intermediate_size, spec.hidden_size));
  const double bound = 8 * kEpsilon * std::sqrt(terms);
  std::vector<float> difference = reference.gradients;
  for (std::size_t i = 0; i < difference.size(); ++i) difference[i] -= fast.gradients[i];
  const double scale = norm_of(reference.gradients);
  const double gradient_error = norm_of(difference) / scale;
  const double loss_error = std::abs(fast.loss - reference.loss) / std::abs(reference.loss);
  const bool good = std::isfinite(fast.loss) && scale > 0 && gradient_error <= bound && loss_error <= bound;
  std::vector<Finding> findings;
  for (int i = 0; i < kSlotCount; ++i) {
    const auto slot = static_cast<Slot>(i);
    if (slot == Slot::kOptimizerUpdate || slot == Slot::kStorage) continue;
    std::int64_t blocks = 0;
    for (const CallCounts::Counts& layer : fast.counts.layers) blocks += layer[static_cast<std::size_t>(i)][0] > 0 ? 1 : 0;
    const std::string where = blocks > 0 ? fmt::format("{} of {} blocks", blocks, spec.num_layers) : "once per step";
    const bool called = fast.counts.of(slot, Pass::kForward) + fast.counts.of(slot, Pass::kBackward) > 0;
    findings.push_back(
        {std::string("slot ") + slot_name(slot), called ? Health::kGood : Health::kBad, called ? "applies: " + where : "was never called"});
  }
  findings.push_back(
      {"self-test", good ? Health::kGood : Health::kBad,
       fmt::format(
           "one step of {} tokens, fast kernels against the reference: loss off by {:.1e}, gradients by {:.1e} (rounding explains {:.1e}); {:.1f} s",
           tokens, loss_error, gradient_error, bound, seconds)});
  return findings;
}

}  // namespace

Finding kernels_self_test() {
  constexpr std::int64_t kCount = 4099;  // no multiple of any vector length
  std::vector<float> gate(kCount), up(kCount), d_act(kCount);
  for (std::size_t i = 0; i < gate.size(); ++i) {
    gate[i] = 6 * uniform(1, i);
    up[i] = uniform(2, i);
    d_act[i] = uniform(3, i);
  }
  std::vector<float> results[2];
  Threads threads(0);
  for (const KernelTable* table : {&reference_kernels(), &cpu_kernels()}) {
    std::vector<float>& out = results[table == &cpu_kernels() ? 1 : 0];
    out.resize(3 * kCount);
    KernelContext context{.threads = threads};
    table->swiglu_forward({gate.data(), up.data(), kCount, out.data()}, context);
    table->swiglu_backward({d_act.data(), gate.data(), up.data(), kCount, out.data() + kCount, out.data() + 2 * kCount}, context);
  }
  double worst = 0;
  for (std::size_t i = 0; i < results[0].size(); ++i) worst = std::max(worst, static_cast<double>(std::abs(results[0][i] - results[1][i])));
  // Values are at most 6; exp and a handful of roundings, each half a unit of up to 6.
  const double bound = 16 * 6 * kEpsilon;
  return {"self-test", worst <= bound ? Health::kGood : Health::kBad,
          fmt::format("swiglu of both kernel sets differs by {:.1e} at most (allowed {:.1e}); give a model for a whole training step", worst, bound)};
}

std::vector<Finding> diagnose_model(FileSystem& files, const std::string& path) {
  const auto model = load_model(files, path);
  if (!model.ok()) return {{"model", Health::kBad, model.error().message}};
  const ModelSpec& spec = model->weights.spec();
  std::vector<Finding> findings = {{"model", Health::kGood,
                                    fmt::format("{}, {:.1f} M parameters, {:.0f} MB, hidden {}, vocabulary {}", spec.model_type,
                                                static_cast<double>(parameter_count(model->weights)) / 1e6,
                                                static_cast<double>(model->weights.stored_bytes()) / 1e6, spec.hidden_size, spec.vocab_size)}};
  findings.push_back(layers_by_kind(model->weights));
  const std::vector<Finding> more = compare_steps(*model);
  findings.insert(findings.end(), more.begin(), more.end());
  return findings;
}

}  // namespace evolora
