// Blocks, attention and MLP.
#include "reference/mlx_graph.h"

#include <cmath>

#include "base/check.h"
#include "reference/mlx_loss.h"

namespace evolora {
namespace {

using Arrays = std::vector<mx::array>;

const std::vector<Projection> kQkv = {Projection::kQ, Projection::kK, Projection::kV};
const std::vector<Projection> kGateUp = {Projection::kGate, Projection::kUp};

std::map<std::pair<std::int64_t, Projection>, std::size_t> index_of(const std::vector<AdapterModule>& modules) {
  std::map<std::pair<std::int64_t, Projection>, std::size_t> index;
  for (std::size_t i = 0; i < modules.size(); ++i) index[{modules[i].layer, modules[i].projection}] = i;
  return index;
}

}  // namespace

// Called once, by plan_mlx_slots: what packs prepare is kept from there.
MlxPackOffer MlxGraph::pack_offer() {
  if (options_.pack == nullptr) return {};
  return {options_.pack->name(), [this](std::int64_t layer, Projection p) {
            MlxPrepared prepared;
            const std::int64_t rank = modules_[index_.at({layer, p})].rank;
            std::string reason = options_.pack->why_not(model_.layers[static_cast<std::size_t>(layer)][p], rank, arrays_per_module_ == 3, prepared);
            if (reason.empty()) prepared_.emplace(std::pair(layer, p), std::move(prepared));
            return reason;
          }};
}

MlxGraph::MlxGraph(const MlxGraphOptions& options, const ModelWeights& weights, const AdapterSet& adapters)
    : options_(options),
      model_(make_mlx_model(weights, options.recipe.arithmetic)),
      modules_(adapters.modules()),
      arrays_per_module_(adapters.options().dora ? 3 : 2),
      index_(index_of(modules_)),
      plan_(plan_mlx_slots(options.recipe, weights, adapters, pack_offer())) {
  if (options_.head_rows_per_chunk <= 0) options_.head_rows_per_chunk = default_rows_per_chunk(model_.spec.vocab_size);
  build_groups(weights);
}

void MlxGraph::build_groups(const ModelWeights& weights) {
  const bool dora = arrays_per_module_ == 3;
  for (std::int64_t layer = 0; layer < weights.spec().num_layers; ++layer) {
    MlxLayer& source = model_.layers[static_cast<std::size_t>(layer)];
    const MlxLayerSlots& slots = plan_.layers[static_cast<std::size_t>(layer)];
    const auto add = [&](const std::vector<Projection>& members) {
      std::vector<MlxLinear> linears;
      for (const Projection p : members) linears.push_back(source[p]);
      groups_.emplace(std::pair(layer, members.front()), make_group(linears, dora));
      if (members.size() == 1) return;
      // The concatenated copy takes their place.
      for (const Projection p : members) source.linears[static_cast<std::size_t>(p)].weight.data = mx::array(0);
      for (const Projection p : members) source.linears[static_cast<std::size_t>(p)].weight.scales = std::nullopt;
      for (const Projection p : members) source.linears[static_cast<std::size_t>(p)].weight.biases = std::nullopt;
    };
    const auto add_slot = [&](const std::vector<Projection>& members, MlxLoraLinear kind) {
      if (kind == MlxLoraLinear::kGrouped) return add(members);
      if (kind == MlxLoraLinear::kStandard || kind == MlxLoraLinear::kPack) return;
      for (const Projection p : members) {
        if (index_.contains({layer, p})) add({p});
      }
    };
    add_slot(kQkv, slots.qkv);
    add_slot({Projection::kO}, slots.o);
    add_slot(kGateUp, slots.gate_up);
    add_slot({Projection::kDown}, slots.down);
    if (slots.swiglu == MlxSwiglu::kOptimized && !groups_.contains({layer, Projection::kDown})) add({Projection::kDown});
  }
}

Arrays MlxGraph::parameters_from(const float* flat) const {
  Arrays out;
  for (const AdapterModule& m : modules_) {
    out.push_back(mlx_floats(flat + m.a_offset, mlx_shape({m.in, m.rank})));
    out.push_back(mlx_floats(flat + m.b_offset, mlx_shape({m.rank, m.out})));
    if (m.m_offset) out.push_back(mlx_floats(flat + *m.m_offset, mlx_shape({m.out})));
  }
  return out;
}

void MlxGraph::copy_parameters(const Arrays& parameters, float* flat) const {
  CHECK(parameters.size() == parameter_arrays());
  for (std::size_t i = 0; i < modules_.size(); ++i) {
    const mx::array* mine = parameters.data() + i * arrays_per_module_;
    copy_floats(mine[0], flat + modules_[i].a_offset);
    copy_floats(mine[1], flat + modules_[i].b_offset);
    if (modules_[i].m_offset) copy_floats(mine[2], flat + *modules_[i].m_offset);
  }
}

std::optional<std::size_t> MlxGraph::module_index(std::int64_t layer, Projection p) const {
  const auto found = index_.find({layer, p});
  if (found == index_.end()) return std::nullopt;
  return found->second;
}

MlxAdapter MlxGraph::adapter(const Trainable& trainable, std::size_t module) const {
  const mx::array* mine = trainable.parameters.data() + module * arrays_per_module_;
  MlxAdapter out{.a = mine[0], .b = mine[1], .m = {}, .scale = modules_[module].scale};
  if (arrays_per_module_ == 3) out.m = mine[2];
  return out;
}

mx::array MlxGraph::project_one(std::int64_t layer, Projection p, MlxLoraLinear kind, const mx::array& x, const Trainable& trainable) const {
  const MlxLinear& weights = model_.layers[static_cast<std::size_t>(layer)][p];
  const std::optional<std::size_t> module = module_index(layer, p);
  if (!module) {
    trainable.calls.frozen(layer);
    return linear(x, weights);
  }
  trainable.calls.forward(layer, p, kind);
  if (kind == MlxLoraLinear::kPack) {
    const auto count = [&calls = trainable.calls, layer, p] { calls.backward(layer, p, MlxLoraLinear::kPack); };
    return options_.pack->call(x, weights, adapter(trainable, *module), prepared_.at({layer, p}), count);
  }
  if (kind != MlxLoraLinear::kStandard) {
    const auto count = [&calls = trainable.calls, layer, p, kind] { calls.backward(layer, p, kind); };
    return grouped_linear(x, groups_.at({layer, p}), {adapter(trainable, *module)}, count)[0];
  }
  const float dropout = modules_[*module].dropout;
  if (dropout == 0.0F || trainable.dropout_keys == nullptr) return adapted_linear(x, weights, adapter(trainable, *module), 0.0F, nullptr);
  const mx::array key = mx::take(*trainable.dropout_keys, static_cast<int>(*module), 0);
  return adapted_linear(x, weights, adapter(trainable, *module), dropout, &key);
}

Arrays MlxGraph::project(std::int64_t layer, const std::vector<Projection>& members, MlxLoraLinear kind, const mx::array& x,
                         const Trainable& trainable) const {
  Arrays out;
  if (kind == MlxLoraLinear::kGrouped) {
    std::vector<MlxAdapter> adapters;
    for (const Projection p : members) adapters.push_back(adapter(trainable, *module_index(layer, p)));
    for (const Projection p : members) trainable.calls.forward(layer, p, kind);
    const auto count = [&calls = trainable.calls, layer, members, kind] {
      for (const Projection p : members) calls.backward(layer, p, kind);
    };
    return grouped_linear(x, groups_.at({layer, members.front()}), adapters, count);
  }
  for (const Projection p : members) out.push_back(project_one(layer, p, kind, x, trainable));
  return out;
}

mx::array MlxGraph::rope(const mx::array& x) const {
  const auto head_dim = static_cast<int>(model_.spec.head_dim);
  return mx::fast::rope(x, head_dim, model_.spec.rope_traditional, model_.rope_base, 1.0F, 0, model_.rope_frequencies);
}

mx::array MlxGraph::attention(std::int64_t layer, const mx::array& x, const Trainable& trainable) const {
  const ModelSpec& spec = model_.spec;
  const MlxLayerSlots& slots = plan_.layers[static_cast<std::size_t>(layer)];
  const mx::ShapeElem batch = x.shape(0);
  const mx::ShapeElem tokens = x.shape(1);
  const auto heads = [&](const mx::array& y, std::int64_t count) {
    return mx::transpose(mx::reshape(y, {batch, tokens, mlx_dim(count), -1}), {0, 2, 1, 3});
  };
  const Arrays qkv = project(layer, kQkv, slots.qkv, x, trainable);
  const mx::array q = rope(heads(qkv[0], spec.num_heads));
  const mx::array k = rope(heads(qkv[1], spec.num_kv_heads));
  const mx::array v = heads(qkv[2], spec.num_kv_heads);
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(spec.head_dim)));
  const auto mask = trainable.window_masks.find(spec.attention_window(layer));
  const mx::array out = mask != trainable.window_masks.end() ? mx::fast::scaled_dot_product_attention(q, k, v, scale, "array", mask->second)
                                                             : mx::fast::scaled_dot_product_attention(q, k, v, scale, tokens > 1 ? "causal" : "");
  return project_one(layer, Projection::kO, slots.o, mx::reshape(mx::transpose(out, {0, 2, 1, 3}), {batch, tokens, -1}), trainable);
}

mx::array MlxGraph::mlp(std::int64_t layer, const mx::array& x, const Trainable& trainable) const {
  const MlxLayerSlots& slots = plan_.layers[static_cast<std::size_t>(layer)];
  const Arrays gate_up = project(layer, kGateUp, slots.gate_up, x, trainable);
  MlxCalls& calls = trainable.calls;
  ++calls.swiglu(layer, slots.swiglu).forward;
  if (slots.swiglu == MlxSwiglu::kStandard) return project_one(layer, Projection::kDown, slots.down, swiglu(gate_up[0], gate_up[1]), trainable);
  std::vector<MlxAdapter> adapters;
  const auto module = module_index(layer, Projection::kDown);
  if (module) {
    adapters.push_back(adapter(trainable, *module));
    calls.forward(layer, Projection::kDown, slots.down);
  } else {
    calls.frozen(layer);
  }
  const auto count = [&calls, layer, kind = slots.down, adapted = module.has_value()] {
    ++calls.swiglu(layer, MlxSwiglu::kOptimized).backward;
    if (adapted) calls.backward(layer, Projection::kDown, kind);
  };
  return swiglu_down(gate_up[0], gate_up[1], groups_.at({layer, Projection::kDown}), adapters, count);
}

mx::array MlxGraph::block(std::int64_t layer, const mx::array& x, const Trainable& trainable) const {
  const MlxLayer& weights = model_.layers[static_cast<std::size_t>(layer)];
  const float eps = model_.spec.rms_norm_eps;
  const mx::array h = mx::add(x, attention(layer, mx::fast::rms_norm(x, weights.input_norm, eps), trainable));
  return mx::add(h, mlp(layer, mx::fast::rms_norm(h, weights.post_attention_norm, eps), trainable));
}

// mlx-lm gives all trainable parameters to every checkpointed block, so that gradients reach them; so does this.
mx::array MlxGraph::checkpointed_block(std::int64_t layer, const mx::array& x, const Trainable& trainable) const {
  Arrays inputs = {x};
  inputs.insert(inputs.end(), trainable.parameters.begin(), trainable.parameters.end());
  if (trainable.dropout_keys != nullptr) inputs.push_back(*trainable.dropout_keys);
  const auto run = [this, layer, with_keys = trainable.dropout_keys != nullptr, masks = trainable.window_masks,
                    &calls = trainable.calls](const Arrays& in) -> Arrays {
    const Arrays parameters(in.begin() + 1, in.begin() + 1 + static_cast<std::ptrdiff_t>(parameter_arrays()));
    return {block(layer, in[0], {parameters, with_keys ? &in.back() : nullptr, masks, calls})};
  };
  return mx::checkpoint(run)(inputs)[0];
}

// As create_causal_mask of mlx_lm/models/base.py, which mlx-lm makes once per batch too: a query sees itself and the window - 1 keys before it.
std::map<std::int64_t, mx::array> MlxGraph::window_masks(mx::ShapeElem tokens) const {
  std::map<std::int64_t, mx::array> masks;
  for (const std::int64_t window : model_.spec.attention_windows) {
    if (window == 0 || tokens <= window || masks.contains(window)) continue;
    const mx::array places = mx::arange(tokens);
    const mx::array queries = mx::expand_dims(places, 1);
    const mx::array keys = mx::expand_dims(places, 0);
    const mx::array within = mx::less(queries, mx::add(keys, mx::array(mlx_dim(window))));
    masks.emplace(window, mx::logical_and(mx::greater_equal(queries, keys), within));
  }
  return masks;
}

mx::array MlxGraph::loss_sum(const Arrays& parameters, const MlxBatch& batch, const mx::array* dropout_keys, MlxCalls& calls) const {
  const std::map<std::int64_t, mx::array> masks = window_masks(batch.tokens.shape(1));
  const Trainable trainable{parameters, dropout_keys, masks, calls};
  mx::array h = embed(batch.tokens, model_.embedding);
  for (std::int64_t i = 0; i < model_.spec.num_layers; ++i) {
    h = options_.grad_checkpoint ? checkpointed_block(i, h, trainable) : block(i, h, trainable);
  }
  ++calls.head_loss(options_.recipe.head_loss).forward;
  if (options_.recipe.head_loss == MlxHeadLoss::kStandard) return standard_loss_sum(h, model_, batch.loss[0], batch.loss[1]);
  return chunked_loss_sum(h, model_, batch.loss[0], batch.loss[1], batch.loss[2], options_.head_rows_per_chunk);
}

}  // namespace evolora
