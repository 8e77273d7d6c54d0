// Counting follows layer_program.cpp: where it stops following the chain down, so does this.
#include "engine/cost_model.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

#include "engine/supervised_rows.h"

namespace evolora {
namespace {

class PassCounter {
 public:
  PassCounter(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, const Batch& batch)
      : weights_(weights),
        spec_(weights.spec()),
        adapters_(adapters),
        recipe_(recipe),
        n_(static_cast<double>(batch.token_count())),
        rows_behind_last_attention_(static_cast<double>(picks_supervised_rows(batch, adapters) ? batch.supervised_count() : batch.token_count())),
        repeated_elements_(batch.shared_tokens == 0 ? 0 : 2 * static_cast<double>(batch.key_count() * weights.spec().kv_width())) {
    for (std::int64_t layer = 0; layer < spec_.num_layers; ++layer) attention_.push_back(attention_operations(layer, batch));
  }

  StepCost count(std::int64_t supervised, bool training, bool prefix_loaded) {
    using enum Projection;
    const std::int64_t first = adapters_.first_layer();
    for (std::int64_t layer = prefix_loaded ? first : 0; layer < spec_.num_layers; ++layer) {
      const bool learns = training && layer >= first;
      forward(layer, {kQ, kK, kV, kO, kGate, kUp, kDown}, cost_.necessary);
      attend(layer, 1, cost_.necessary);
      cost_.moved_bytes += elements_per_layer() * kForwardBytes + repeated_elements_ * kCopyBytes;
      if (learns && recipe_.saved_activations == StorageType::kBf16) cost_.moved_bytes += elements_per_layer() * kStorageBytes;
    }
    if (training) {
      for (std::int64_t layer = first; layer < spec_.num_layers; ++layer) backward(layer, layer == first);
    }
    const double head = 2 * static_cast<double>(supervised) * static_cast<double>(spec_.vocab_size * spec_.hidden_size);
    cost_.necessary += training ? 2 * head : head;
    if (head_arithmetic(weights_.head(), recipe_.forward_arithmetic) != Arithmetic::kFp32) cost_.lowered_head += head;
    if (training && recipe_.backward_arithmetic != Arithmetic::kFp32) cost_.lowered_head += head;
    return cost_;
  }

 private:
  static constexpr double kForwardBytes = 16;  // read and written once or twice by norms, rope, swiglu, residual sums
  // 4 read, 2 written; later 2 read, 4 written. All but the halves themselves stay in the caches, and they save as much traffic to memory as they
  // cost: steps of the Qwen2.5-0.5B shape with 512 tokens took 1 to 3 % less processor time with them than without.
  static constexpr double kStorageBytes = 2;

  static constexpr double kCopyBytes = 8;  // read and written: keys and values with the shared rows repeated, and as much again for their gradients

  double elements_per_layer() const { return n_ * static_cast<double>(4 * spec_.hidden_size + 2 * spec_.kv_width() + 2 * spec_.intermediate_size); }
  bool any(std::int64_t layer, std::initializer_list<Projection> projections) const {
    for (const Projection p : projections) {
      if (adapters_.find(layer, p) != nullptr) return true;
    }
    return false;
  }
  // Forward: queries times the keys they see, for scores and for values.
  double attention_operations(std::int64_t layer, const Batch& batch) const {
    const auto window = static_cast<double>(spec_.attention_window(layer));
    const auto pairs_of_first = [window](std::int64_t count) {
      const auto length = static_cast<double>(count);
      const double ramp = window == 0 ? length : std::min(length, window);  // so many queries see all before them
      return ramp * (ramp + 1) / 2 + (length - ramp) * window;
    };
    double pairs = 0;
    for (std::int64_t s = 0; s < batch.segment_count(); ++s) {
      const std::int64_t before = batch.tokens_before(s);
      pairs += pairs_of_first(before + batch.own_tokens(s)) - pairs_of_first(before);
    }
    return 2 * 2 * static_cast<double>(spec_.query_width()) * pairs;
  }
  void attend(std::int64_t layer, double factor, double& into) {
    const double operations = factor * attention_[static_cast<std::size_t>(layer)];
    into += operations;
    cost_.attention += operations;
  }
  double rows(std::int64_t layer, Projection p) const {
    const bool before_attention = p == Projection::kQ || p == Projection::kK || p == Projection::kV;
    return layer < spec_.num_layers - 1 || before_attention ? n_ : rows_behind_last_attention_;
  }
  void base(std::int64_t layer, Projection p, Arithmetic arithmetic, double& lowered, double& into) {
    const WeightView& weight = weights_.layer(layer)[p].weight;
    const auto size = static_cast<double>(weight.out * weight.in);
    into += 2 * rows(layer, p) * size;
    if (arithmetic_for(weight, arithmetic) != Arithmetic::kFp32) lowered += 2 * rows(layer, p) * size;
    cost_.decoded_weights += size;
  }
  void forward(std::int64_t layer, std::initializer_list<Projection> projections, double& into) {
    for (const Projection p : projections) {
      base(layer, p, recipe_.forward_arithmetic, cost_.lowered_forward, into);
      const AdapterModule* adapter = adapters_.find(layer, p);
      if (adapter != nullptr) into += 2 * rows(layer, p) * static_cast<double>(adapter->rank * (adapter->in + adapter->out));
    }
  }
  void linear_backward(std::int64_t layer, std::initializer_list<Projection> projections, bool dx) {
    for (const Projection p : projections) {
      if (dx) base(layer, p, recipe_.backward_arithmetic, cost_.lowered_backward, cost_.necessary);
      const AdapterModule* adapter = adapters_.find(layer, p);
      if (adapter == nullptr) continue;
      const double inputs = dx ? 2 : 1;  // dA, and dx where it is wanted
      cost_.necessary += 2 * rows(layer, p) * static_cast<double>(adapter->rank) *
                         (inputs * static_cast<double>(adapter->in) + 2 * static_cast<double>(adapter->out));
    }
  }
  void backward(std::int64_t layer, bool lowest) {
    using enum Projection;
    if (recipe_.recompute == Recompute::kBlock) {
      forward(layer, {kQ, kK, kV, kO, kGate, kUp}, cost_.recomputed);
      attend(layer, 1, cost_.recomputed);
    } else if (recipe_.recompute == Recompute::kMlp) {
      forward(layer, {kGate, kUp}, cost_.recomputed);
    }
    cost_.moved_bytes += elements_per_layer() * 2 * kForwardBytes + 2 * repeated_elements_ * kCopyBytes;
    const bool below_down = !lowest || any(layer, {kGate, kUp, kO, kQ, kK, kV});
    const bool below_mlp = !lowest || any(layer, {kO, kQ, kK, kV});
    const bool below_o = !lowest || any(layer, {kQ, kK, kV});
    linear_backward(layer, {kDown}, below_down);
    if (!below_down) return;
    linear_backward(layer, {kGate, kUp}, below_mlp);
    if (!below_mlp) return;
    linear_backward(layer, {kO}, below_o);
    if (!below_o) return;
    attend(layer, 2.5, cost_.necessary);  // scores again, and four products
    linear_backward(layer, {kQ, kK, kV}, !lowest);
  }

  const ModelWeights& weights_;
  const ModelSpec& spec_;
  const AdapterSet& adapters_;
  const Recipe& recipe_;
  double n_;
  double rows_behind_last_attention_;
  double repeated_elements_;       // of keys and values as attention reads them, where rows are shared
  std::vector<double> attention_;  // forward, by layer
  StepCost cost_;
};

}  // namespace

StepCost& StepCost::operator+=(const StepCost& other) {
  necessary += other.necessary;
  recomputed += other.recomputed;
  attention += other.attention;
  lowered_forward += other.lowered_forward;
  lowered_backward += other.lowered_backward;
  lowered_head += other.lowered_head;
  decoded_weights += other.decoded_weights;
  moved_bytes += other.moved_bytes;
  return *this;
}

StepCost cost_of_pass(const ModelWeights& weights, const AdapterSet& adapters, const Recipe& recipe, const Batch& batch, bool training,
                      bool prefix_loaded) {
  return PassCounter(weights, adapters, recipe, batch).count(batch.supervised_count(), training, prefix_loaded);
}

// Of the time of fp32, measured with the dot product instructions (lora_linear_benchmark).
double time_share(Arithmetic arithmetic) {
  constexpr double kBf16 = 0.55;
  constexpr double kInt8 = 0.55;  // with second numbers in about half of the groups
  if (arithmetic == Arithmetic::kBf16) return kBf16;
  return arithmetic == Arithmetic::kInt8 ? kInt8 : 1;
}

double predicted_seconds(const StepCost& cost, const Recipe& recipe, double peak_flops) {
  // Shares of the peak that the kernels were measured at (docs/performance.md), and what a core moves beside them.
  constexpr double kGemmShare = 0.88;
  constexpr double kAttentionShare = 0.78;
  constexpr double kRowsPerDecode = 6;  // decoding a weight costs as much as multiplying it with this many rows
  constexpr double kBytesPerSecond = 8e9;
  const double saved = cost.lowered_forward * (1 - time_share(recipe.forward_arithmetic)) +
                       cost.lowered_backward * (1 - time_share(recipe.backward_arithmetic)) + cost.lowered_head * (1 - time_share(Arithmetic::kBf16));
  const double gemm = cost.necessary + cost.recomputed - cost.attention - saved;
  return gemm / (kGemmShare * peak_flops) + cost.attention / (kAttentionShare * peak_flops) + 2 * kRowsPerDecode * cost.decoded_weights / peak_flops +
         cost.moved_bytes / kBytesPerSecond;
}

}  // namespace evolora
