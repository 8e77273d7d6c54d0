// Emits the calls of one block. Each call captures what it needs by value: shapes, weight views and buffer names; pointers are resolved when it runs.
#include "engine/layer_program.h"

#include <cmath>

#include "base/check.h"
#include "engine/dropout_key.h"
#include "engine/shared_prefix.h"
#include "engine/supervised_rows.h"

namespace evolora {
namespace {

// One member of a lora_linear call before its pointers are known.
struct ProjectionPlan {
  LinearWeights linear;
  const AdapterModule* adapter = nullptr;  // null: no adapter
  std::size_t adapter_index = 0;
  const float* parameters = nullptr;  // the adapter set's flat buffer
  float dropout = 0;
  BufferId xa = kNoBuffer;
  BufferId y = kNoBuffer;
  BufferId dy = kNoBuffer;
  bool y_in_cache = false;  // keys (or values) of a decoding program
  bool y_is_key = false;
};

struct CacheShape {
  std::int64_t layer = 0;
  std::int64_t width = 0;  // G*C
};

float* cache_rows(float* cache, const CacheShape& shape, const Bindings& bindings, std::int64_t first) {
  return cache + (shape.layer * bindings.cache_capacity + first) * shape.width;
}

constexpr std::size_t kMaxGroup = 3;

// Binds the plan to memory. Kernels get null adapter pointers where there is no adapter, as their contract says.
std::array<LoraProjection, kMaxGroup> bind_group(const std::vector<ProjectionPlan>& plans, const CacheShape& cache, const RunContext& run) {
  std::array<LoraProjection, kMaxGroup> out;
  CHECK(plans.size() <= kMaxGroup);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const ProjectionPlan& plan = plans[i];
    LoraProjection& p = out[i];
    p.weight = plan.linear.weight;
    p.bias = plan.linear.bias;
    p.dy = run.f32(plan.dy);
    p.y = run.f32(plan.y);
    if (plan.y_in_cache) {
      float* base = plan.y_is_key ? run.bindings().key_cache : run.bindings().value_cache;
      p.y = cache_rows(base, cache, run.bindings(), run.bindings().past_tokens);
    }
    if (plan.adapter == nullptr) continue;
    const AdapterModule& adapter = *plan.adapter;
    p.a = plan.parameters + adapter.a_offset;
    p.b = plan.parameters + adapter.b_offset;
    p.rank = adapter.rank;
    p.scale = adapter.scale;
    p.dropout = plan.dropout;
    p.dropout_key = dropout_key(run.bindings().dropout_seed, plan.adapter_index);
    p.xa = run.f32(plan.xa);
    if (run.bindings().gradients != nullptr) {
      p.da = run.bindings().gradients + adapter.a_offset;
      p.db = run.bindings().gradients + adapter.b_offset;
    }
  }
  return out;
}

void release_weights(std::span<const LoraProjection> projections) {
  for (const LoraProjection& p : projections) release_weight(p.weight);
}

}  // namespace

struct LayerProgram::Group {
  std::vector<Projection> projections;
  std::vector<BufferId> values;  // forward: y; backward: dy; one per projection, kNoBuffer: in the cache
};

const AdapterModule* LayerProgram::adapter(std::int64_t layer, Projection projection) const {
  return inputs_.adapters == nullptr ? nullptr : inputs_.adapters->find(layer, projection);
}

bool LayerProgram::any_adapter(std::int64_t layer, std::initializer_list<Projection> projections) const {
  for (const Projection projection : projections) {
    if (adapter(layer, projection) != nullptr) return true;
  }
  return false;
}

ResidualStream LayerProgram::embed() {
  const BufferId h = builder_.floats("h", rows() * spec().hidden_size);
  builder_.call(Slot::kEmbedding, Pass::kForward, -1, {h}, 0,
                [table = inputs_.weights.embedding(), release = inputs_.recipe.release_weights, kernel = inputs_.kernels.embedding_forward, h](
                    const RunContext& run, KernelContext& context) {
                  kernel({.tokens = run.bindings().batch->tokens.data(), .n = run.bindings().batch->token_count(), .table = table, .out = run.f32(h)},
                         context);
                  // A row is a few hundred bytes, but the system maps 64 KB around each.
                  if (release) release_weight(table);
                });
  return {.base = h};
}

void LayerProgram::norm(std::int64_t layer, BufferId x, BufferId residual, const float* weight, BufferId sum, BufferId y) {
  builder_.call(
      Slot::kRmsNorm, Pass::kForward, layer, {x, residual, sum, y}, 0,
      [=, n = rows(), d = spec().hidden_size, eps = spec().rms_norm_eps, kernel = inputs_.kernels.rms_norm_forward](const RunContext& run,
                                                                                                                    KernelContext& context) {
        kernel({.x = run.f32(x), .residual = run.f32(residual), .weight = weight, .eps = eps, .n = n, .d = d, .sum = run.f32(sum), .y = run.f32(y)},
               context);
      });
}

void LayerProgram::norm_backward(std::int64_t layer, BufferId dy, BufferId x, const float* weight, BufferId d_hidden) {
  builder_.call(Slot::kRmsNorm, Pass::kBackward, layer, {dy, x, d_hidden}, 0,
                [=, n = rows(), d = spec().hidden_size, eps = spec().rms_norm_eps, kernel = inputs_.kernels.rms_norm_backward](
                    const RunContext& run, KernelContext& context) {
                  float* stream = run.f32(d_hidden);
                  kernel({.dy = run.f32(dy), .x = run.f32(x), .weight = weight, .eps = eps, .n = n, .d = d, .add = stream, .dx = stream}, context);
                });
}

ResidualStream LayerProgram::load_prefix() {
  const BufferId h = builder_.floats("h", rows() * spec().hidden_size);
  builder_.call(Slot::kStorage, Pass::kForward, -1, {h}, 0,
                [h](const RunContext& run, KernelContext&) { run.bindings().prefix->load(*run.bindings().batch, run.f32(h)); });
  return {.base = h};
}

void LayerProgram::store_prefix(BufferId hidden) {
  builder_.call(Slot::kStorage, Pass::kForward, -1, {hidden}, 0,
                [hidden](const RunContext& run, KernelContext&) { run.bindings().prefix->store(*run.bindings().batch, run.f32(hidden)); });
}

BufferId LayerProgram::materialize(ResidualStream stream) {
  if (stream.delta == kNoBuffer) return stream.base;
  const BufferId sum = builder_.floats("h", rows() * spec().hidden_size);
  // The sum is what is wanted; the normalised rows go over the delta, which nobody needs any more.
  norm(-1, stream.delta, stream.base, inputs_.weights.final_norm(), sum, stream.delta);
  return sum;
}

BufferId LayerProgram::keep(std::int64_t layer, BufferId x, std::int64_t count) {
  if (!keeps_bf16()) return x;
  const BufferId kept = builder_.halves("kept", count);
  builder_.call(Slot::kStorage, Pass::kForward, layer, {x, kept}, 0,
                [x, kept, count, kernel = inputs_.kernels.narrow](const RunContext& run, KernelContext& context) {
                  kernel({.x = run.f32(x), .count = count, .out = run.bf16(kept)}, context);
                });
  return kept;
}

BufferId LayerProgram::take(std::int64_t layer, BufferId kept, std::int64_t count) {
  if (!keeps_bf16()) return kept;
  const BufferId x = builder_.floats("taken", count);
  builder_.call(Slot::kStorage, Pass::kBackward, layer, {x, kept}, 0,
                [x, kept, count, kernel = inputs_.kernels.widen](const RunContext& run, KernelContext& context) {
                  kernel({.x = run.bf16(kept), .count = count, .out = run.f32(x)}, context);
                });
  return x;
}

BufferId LayerProgram::pick(std::int64_t layer, BufferId x, std::int64_t width) {
  const BufferId picked = builder_.floats("picked", inputs_.batch.supervised_count() * width);
  builder_.call(Slot::kStorage, Pass::kForward, layer, {x, picked}, 0, [x, picked, width](const RunContext& run, KernelContext& context) {
    pick_supervised_rows(*run.bindings().batch, width, run.f32(x), run.f32(picked), context.threads);
  });
  return picked;
}

BufferId LayerProgram::place(std::int64_t layer, BufferId picked, std::int64_t width) {
  const BufferId x = builder_.floats("placed", inputs_.batch.token_count() * width);
  builder_.call(Slot::kStorage, Pass::kBackward, layer, {picked, x}, 0, [picked, x, width](const RunContext& run, KernelContext& context) {
    place_supervised_rows(*run.bindings().batch, width, run.f32(picked), run.f32(x), context.threads);
  });
  return x;
}

LayerProgram::Forward LayerProgram::forward(std::int64_t layer, ResidualStream stream, bool save) {
  Forward result;
  BlockBuffers block = forward_to_mlp(layer, stream, save ? &result.saved : nullptr);
  const BufferId act = builder_.floats("act", rows() * spec().intermediate_size);
  activate(layer, block, act);
  if (save && inputs_.recipe.recompute == Recompute::kNothing) {
    result.saved.gate = keep(layer, block.gate, rows() * spec().intermediate_size);
    result.saved.up = keep(layer, block.up, rows() * spec().intermediate_size);
  }
  const BufferId down = builder_.floats("down", rows() * spec().hidden_size);
  linear(layer, {{Projection::kDown}, {down}}, act, block);
  result.saved.xa = block.xa;
  result.stream = {.base = block.h_mid, .delta = down};
  return result;
}

void LayerProgram::activate(std::int64_t layer, const BlockBuffers& block, BufferId act) {
  builder_.call(Slot::kSwiglu, Pass::kForward, layer, {block.gate, block.up, act}, 0,
                [gate = block.gate, up = block.up, act, count = rows() * spec().intermediate_size, kernel = inputs_.kernels.swiglu_forward](
                    const RunContext& run, KernelContext& context) {
                  kernel({.gate = run.f32(gate), .up = run.f32(up), .count = count, .act = run.f32(act)}, context);
                });
}

BlockBuffers LayerProgram::forward_to_mlp(std::int64_t layer, ResidualStream stream, BlockBuffers* saved) {
  const std::int64_t n = inputs_.batch.token_count();
  rows_ = n;
  const bool save_block = saved != nullptr && inputs_.recipe.recompute != Recompute::kBlock;
  BlockBuffers block;
  const BufferId x1 = builder_.floats("x1", n * spec().hidden_size);
  const float* input_norm = inputs_.weights.layer(layer).input_norm;
  if (stream.delta == kNoBuffer) {
    block.h_in = stream.base;
    norm(layer, stream.base, kNoBuffer, input_norm, kNoBuffer, x1);
  } else {
    block.h_in = builder_.floats("h_in", n * spec().hidden_size);
    norm(layer, stream.delta, stream.base, input_norm, block.h_in, x1);
  }
  block.q = builder_.floats("q", n * spec().query_width());
  if (!inputs_.use_cache) {
    block.k = builder_.floats("k", n * spec().kv_width());
    block.v = builder_.floats("v", n * spec().kv_width());
  }
  linear(layer, {{Projection::kQ, Projection::kK, Projection::kV}, {block.q, block.k, block.v}}, x1, block);
  rope(layer, Pass::kForward, block.q, block.k);
  attend(layer, block);
  if (save_block) {
    saved->q = block.q;
    saved->k = block.k;
    saved->v = keep(layer, block.v, n * spec().kv_width());
    saved->lse = block.lse;
  }

  BufferId residual = block.h_in;
  block.o_in = block.attention;
  if (picks_rows(layer)) {
    residual = pick(layer, block.h_in, spec().hidden_size);
    block.o_in = pick(layer, block.attention, spec().query_width());
    rows_ = inputs_.batch.supervised_count();
  }
  const BufferId o = builder_.floats("o", rows() * spec().hidden_size);
  linear(layer, {{Projection::kO}, {o}}, block.o_in, block);
  if (save_block) saved->o_in = keep(layer, block.o_in, rows() * spec().query_width());
  block.h_mid = builder_.floats("h_mid", rows() * spec().hidden_size);
  const BufferId x2 = builder_.floats("x2", rows() * spec().hidden_size);
  norm(layer, o, residual, inputs_.weights.layer(layer).post_attention_norm, block.h_mid, x2);
  if (saved != nullptr) saved->h_in = keep(layer, block.h_in, n * spec().hidden_size);
  if (save_block) saved->h_mid = keep(layer, block.h_mid, rows() * spec().hidden_size);
  gate_and_up(layer, x2, block);
  return block;
}

void LayerProgram::gate_and_up(std::int64_t layer, BufferId x2, BlockBuffers& block) {
  block.gate = builder_.floats("gate", rows() * spec().intermediate_size);
  block.up = builder_.floats("up", rows() * spec().intermediate_size);
  linear(layer, {{Projection::kGate, Projection::kUp}, {block.gate, block.up}}, x2, block);
}

void LayerProgram::linear(std::int64_t layer, const Group& group, BufferId x, BlockBuffers& block) {
  std::vector<ProjectionPlan> plans;
  std::vector<BufferId> touched = {x};
  for (std::size_t i = 0; i < group.projections.size(); ++i) {
    const Projection projection = group.projections[i];
    ProjectionPlan plan{.linear = inputs_.weights.layer(layer)[projection], .adapter = adapter(layer, projection), .y = group.values[i]};
    plan.y_in_cache = group.values[i] == kNoBuffer;
    plan.y_is_key = projection == Projection::kK;
    if (plan.adapter != nullptr) {
      plan.parameters = inputs_.adapters->parameters();
      plan.adapter_index = static_cast<std::size_t>(plan.adapter - inputs_.adapters->modules().data());
      plan.dropout = inputs_.apply_dropout ? plan.adapter->dropout : 0.0F;
      plan.xa = builder_.floats("xa", rows() * plan.adapter->rank);
      block.xa[static_cast<std::size_t>(projection)] = plan.xa;
    }
    touched.push_back(plan.y);
    touched.push_back(plan.xa);
    plans.push_back(plan);
  }
  const CacheShape cache{.layer = layer, .width = spec().kv_width()};
  // Token by token, reading the weight takes longer than any arithmetic.
  const Arithmetic arithmetic = inputs_.use_cache ? Arithmetic::kFp32 : inputs_.recipe.forward_arithmetic;
  const auto arguments = [plans, cache, x, arithmetic, n = rows()](const RunContext& run, std::array<LoraProjection, kMaxGroup>& bound) {
    bound = bind_group(plans, cache, run);
    return LoraLinearForward{.x = run.f32(x), .n = n, .projections = {bound.data(), plans.size()}, .arithmetic = arithmetic};
  };
  std::array<LoraProjection, kMaxGroup> bound;
  const std::size_t workspace =
      inputs_.kernels.lora_linear_forward_workspace_bytes(arguments(RunContext::planning(inputs_.planning_bindings), bound), inputs_.threads);
  builder_.call(Slot::kLoraLinear, Pass::kForward, layer, touched, workspace,
                [arguments, release = inputs_.recipe.release_weights, kernel = inputs_.kernels.lora_linear_forward](const RunContext& run,
                                                                                                                    KernelContext& context) {
                  std::array<LoraProjection, kMaxGroup> projections;
                  const auto args = arguments(run, projections);
                  kernel(args, context);
                  if (release) release_weights(args.projections);
                });
}

void LayerProgram::linear_backward(std::int64_t layer, const Group& group, BufferId x, const BlockBuffers& block, BufferId dx) {
  std::vector<ProjectionPlan> plans;
  std::vector<BufferId> touched = {x, dx};
  for (std::size_t i = 0; i < group.projections.size(); ++i) {
    const Projection projection = group.projections[i];
    ProjectionPlan plan{.linear = inputs_.weights.layer(layer)[projection], .adapter = adapter(layer, projection), .dy = group.values[i]};
    if (plan.adapter != nullptr) {
      plan.parameters = inputs_.adapters->parameters();
      plan.adapter_index = static_cast<std::size_t>(plan.adapter - inputs_.adapters->modules().data());
      plan.dropout = inputs_.apply_dropout ? plan.adapter->dropout : 0.0F;
      plan.xa = block.xa[static_cast<std::size_t>(projection)];
    }
    touched.push_back(plan.dy);
    touched.push_back(plan.xa);
    plans.push_back(plan);
  }
  const auto arguments = [plans, x, dx, arithmetic = inputs_.recipe.backward_arithmetic, n = rows()](const RunContext& run,
                                                                                                     std::array<LoraProjection, kMaxGroup>& bound) {
    bound = bind_group(plans, {}, run);
    return LoraLinearBackward{.x = run.f32(x), .n = n, .projections = {bound.data(), plans.size()}, .dx = run.f32(dx), .arithmetic = arithmetic};
  };
  std::array<LoraProjection, kMaxGroup> bound;
  const std::size_t workspace =
      inputs_.kernels.lora_linear_backward_workspace_bytes(arguments(RunContext::planning(inputs_.planning_bindings), bound), inputs_.threads);
  builder_.call(Slot::kLoraLinear, Pass::kBackward, layer, touched, workspace,
                [arguments, release = inputs_.recipe.release_weights, kernel = inputs_.kernels.lora_linear_backward](const RunContext& run,
                                                                                                                     KernelContext& context) {
                  std::array<LoraProjection, kMaxGroup> projections;
                  const auto args = arguments(run, projections);
                  kernel(args, context);
                  if (release) release_weights(args.projections);
                });
}

void LayerProgram::rope(std::int64_t layer, Pass pass, BufferId q, BufferId k) {
  const CacheShape cache{.layer = layer, .width = spec().kv_width()};
  const auto arguments = [q, k, cache, in_cache = inputs_.use_cache, n = rows(), heads = spec().num_heads, kv_heads = spec().num_kv_heads,
                          head_dim = spec().head_dim, frequencies = spec().rope_inverse_frequencies.data(), traditional = spec().rope_traditional,
                          direction = pass == Pass::kForward ? 1 : -1](const RunContext& run) {
    float* keys = in_cache ? cache_rows(run.bindings().key_cache, cache, run.bindings(), run.bindings().past_tokens) : run.f32(k);
    return Rope{.q = run.f32(q),
                .k = keys,
                .n = n,
                .q_heads = heads,
                .k_heads = kv_heads,
                .head_dim = head_dim,
                .positions = run.bindings().batch->positions.data(),
                .inverse_frequencies = frequencies,
                .traditional = traditional,
                .direction = direction};
  };
  const std::size_t workspace = inputs_.kernels.rope_workspace_bytes(arguments(RunContext::planning(inputs_.planning_bindings)), inputs_.threads);
  builder_.call(Slot::kRope, pass, layer, {q, k}, workspace,
                [arguments, kernel = inputs_.kernels.rope](const RunContext& run, KernelContext& context) { kernel(arguments(run), context); });
}

BufferId LayerProgram::keys_of_all(std::int64_t layer, Pass pass, BufferId x) {
  if (inputs_.batch.shared_tokens == 0) return x;
  const BufferId all = builder_.floats("keys_of_all", inputs_.batch.key_count() * spec().kv_width());
  builder_.call(Slot::kStorage, pass, layer, {x, all}, 0, [x, all, width = spec().kv_width()](const RunContext& run, KernelContext& context) {
    repeat_shared_rows(*run.bindings().batch, width, run.f32(x), run.f32(all), context.threads);
  });
  return all;
}

void LayerProgram::attend(std::int64_t layer, BlockBuffers& block) {
  block.attention = builder_.floats("attention", rows() * spec().query_width());
  block.lse = builder_.floats("lse", rows() * spec().num_heads);
  const CacheShape cache{.layer = layer, .width = spec().kv_width()};
  const BufferId k = keys_of_all(layer, Pass::kForward, block.k);
  const BufferId v = keys_of_all(layer, Pass::kForward, block.v);
  const auto arguments = [block, k, v, cache, in_cache = inputs_.use_cache, heads = spec().num_heads, kv_heads = spec().num_kv_heads,
                          head_dim = spec().head_dim, window = spec().attention_window(layer)](const RunContext& run) {
    const float* keys = in_cache ? cache_rows(run.bindings().key_cache, cache, run.bindings(), 0) : run.f32(k);
    const float* values = in_cache ? cache_rows(run.bindings().value_cache, cache, run.bindings(), 0) : run.f32(v);
    return AttentionForward{.q = run.f32(block.q),
                            .k = keys,
                            .v = values,
                            .segments = run.bindings().segments,
                            .heads = heads,
                            .kv_heads = kv_heads,
                            .head_dim = head_dim,
                            .window = window,
                            .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                            .out = run.f32(block.attention),
                            .lse = run.f32(block.lse)};
  };
  const std::size_t workspace =
      inputs_.kernels.attention_forward_workspace_bytes(arguments(RunContext::planning(inputs_.planning_bindings)), inputs_.threads);
  builder_.call(
      Slot::kAttention, Pass::kForward, layer, {block.q, k, v, block.attention, block.lse}, workspace,
      [arguments, kernel = inputs_.kernels.attention_forward](const RunContext& run, KernelContext& context) { kernel(arguments(run), context); });
}

void LayerProgram::attend_backward(std::int64_t layer, const BlockBuffers& block, BufferId d_out, BufferId dq, BufferId dk, BufferId dv) {
  const std::int64_t width = spec().kv_width();
  const bool shared = inputs_.batch.shared_tokens > 0;
  const BufferId k = keys_of_all(layer, Pass::kBackward, block.k);
  const BufferId v = keys_of_all(layer, Pass::kBackward, block.v);
  const BufferId dk_all = shared ? builder_.floats("dk_of_all", inputs_.batch.key_count() * width) : dk;
  const BufferId dv_all = shared ? builder_.floats("dv_of_all", inputs_.batch.key_count() * width) : dv;
  const auto arguments = [block, k, v, d_out, dq, dk_all, dv_all, n = rows(), heads = spec().num_heads, kv_heads = spec().num_kv_heads,
                          head_dim = spec().head_dim, window = spec().attention_window(layer)](const RunContext& run) {
    return AttentionBackward{.q = run.f32(block.q),
                             .k = run.f32(k),
                             .v = run.f32(v),
                             .out = run.f32(block.attention),
                             .lse = run.f32(block.lse),
                             .dout = run.f32(d_out),
                             .segments = run.bindings().segments,
                             .n = n,
                             .heads = heads,
                             .kv_heads = kv_heads,
                             .head_dim = head_dim,
                             .window = window,
                             .scale = 1.0F / std::sqrt(static_cast<float>(head_dim)),
                             .dq = run.f32(dq),
                             .dk = run.f32(dk_all),
                             .dv = run.f32(dv_all)};
  };
  const std::size_t workspace =
      inputs_.kernels.attention_backward_workspace_bytes(arguments(RunContext::planning(inputs_.planning_bindings)), inputs_.threads);
  builder_.call(
      Slot::kAttention, Pass::kBackward, layer, {block.q, k, v, block.attention, block.lse, d_out, dq, dk_all, dv_all}, workspace,
      [arguments, kernel = inputs_.kernels.attention_backward](const RunContext& run, KernelContext& context) { kernel(arguments(run), context); });
  if (!shared) return;
  for (const auto& [all, own] : {std::pair(dk_all, dk), {dv_all, dv}}) {
    builder_.call(Slot::kStorage, Pass::kBackward, layer, {all, own}, 0,
                  [all = all, own = own, width](const RunContext& run, KernelContext& context) {
                    sum_shared_rows(*run.bindings().batch, width, run.f32(all), run.f32(own), context.threads);
                  });
  }
}

BufferId LayerProgram::backward(std::int64_t layer, const BlockBuffers& saved, BufferId d_hidden, bool lowest) {
  using enum Projection;
  const std::int64_t n = inputs_.batch.token_count();
  rows_ = picks_rows(layer) ? inputs_.batch.supervised_count() : n;
  const std::int64_t inner = spec().intermediate_size;
  const LayerWeights& weights = inputs_.weights.layer(layer);
  // In the lowest adapted block the chain is followed only down to its deepest adapter.
  const bool below_down = !lowest || any_adapter(layer, {kGate, kUp, kO, kQ, kK, kV});
  const bool below_mlp = !lowest || any_adapter(layer, {kO, kQ, kK, kV});
  const bool below_o = !lowest || any_adapter(layer, {kQ, kK, kV});
  const bool below_block = !lowest;

  // Saved tensors come back one by one, each just before its first use.
  BlockBuffers block = saved;
  const bool whole = inputs_.recipe.recompute == Recompute::kBlock;
  const auto back = [&](BufferId& id, std::int64_t width) {
    if (!whole) id = take(layer, id, rows() * width);
  };
  BufferId x2 = kNoBuffer;
  const auto norm_mid = [&] {
    back(block.h_mid, spec().hidden_size);
    x2 = builder_.floats("x2", rows() * spec().hidden_size);
    norm(layer, block.h_mid, kNoBuffer, weights.post_attention_norm, kNoBuffer, x2);
  };
  if (whole) {
    // Not the block's output: down's xa is kept from the first pass.
    block = forward_to_mlp(layer, {.base = take(layer, saved.h_in, n * spec().hidden_size)}, nullptr);
    block.xa[static_cast<std::size_t>(kDown)] = saved.xa[static_cast<std::size_t>(kDown)];
  } else if (inputs_.recipe.recompute == Recompute::kMlp) {
    norm_mid();
    gate_and_up(layer, x2, block);
  } else {
    back(block.gate, inner);
    back(block.up, inner);
  }

  // MLP: h_out = h_mid + down(silu(gate) * up).
  BufferId act = kNoBuffer;
  if (any_adapter(layer, {kDown})) {
    act = builder_.floats("act", rows() * inner);
    activate(layer, block, act);
  }
  const BufferId d_act = below_down ? builder_.floats("d_act", rows() * inner) : kNoBuffer;
  if (below_down || act != kNoBuffer) linear_backward(layer, {{kDown}, {d_hidden}}, act, block, d_act);
  if (!below_down) return d_hidden;

  builder_.call(
      Slot::kSwiglu, Pass::kBackward, layer, {d_act, block.gate, block.up}, 0,
      [d_act, gate = block.gate, up = block.up, count = rows() * inner, kernel = inputs_.kernels.swiglu_backward](const RunContext& run,
                                                                                                                  KernelContext& context) {
        // In place: gate and up are not needed any more.
        kernel({.d_act = run.f32(d_act), .gate = run.f32(gate), .up = run.f32(up), .count = count, .d_gate = run.f32(gate), .d_up = run.f32(up)},
               context);
      });
  if (x2 == kNoBuffer && any_adapter(layer, {kGate, kUp})) norm_mid();
  const bool has_mid = x2 != kNoBuffer;
  const BufferId d_x2 = below_mlp ? builder_.floats("d_x2", rows() * spec().hidden_size) : kNoBuffer;
  if (below_mlp || any_adapter(layer, {kGate, kUp})) linear_backward(layer, {{kGate, kUp}, {block.gate, block.up}}, x2, block, d_x2);
  if (!below_mlp) return d_hidden;
  if (!has_mid) back(block.h_mid, spec().hidden_size);
  norm_backward(layer, d_x2, block.h_mid, weights.post_attention_norm, d_hidden);

  // Attention: h_mid = h_in + o(attention(rope(q), rope(k), v)).
  BufferId d_attention = below_o ? builder_.floats("d_attention", rows() * spec().query_width()) : kNoBuffer;
  back(block.o_in, spec().query_width());
  linear_backward(layer, {{kO}, {d_hidden}}, any_adapter(layer, {kO}) ? block.o_in : kNoBuffer, block, d_attention);
  if (!below_o) return d_hidden;
  block.attention = block.o_in;
  if (picks_rows(layer)) {
    // Rows that nothing is learned of have no gradient, so what attention gave them does not matter.
    block.attention = place(layer, block.o_in, spec().query_width());
    d_attention = place(layer, d_attention, spec().query_width());
    if (below_block) d_hidden = place(layer, d_hidden, spec().hidden_size);
    rows_ = n;
  }
  const BufferId dq = builder_.floats("dq", n * spec().query_width());
  const BufferId dk = builder_.floats("dk", n * spec().kv_width());
  const BufferId dv = builder_.floats("dv", n * spec().kv_width());
  back(block.v, spec().kv_width());
  attend_backward(layer, block, d_attention, dq, dk, dv);
  rope(layer, Pass::kBackward, dq, dk);
  back(block.h_in, spec().hidden_size);
  BufferId x1 = kNoBuffer;
  if (any_adapter(layer, {kQ, kK, kV})) {
    x1 = builder_.floats("x1", n * spec().hidden_size);
    norm(layer, block.h_in, kNoBuffer, weights.input_norm, kNoBuffer, x1);
  }
  const BufferId d_x1 = below_block ? builder_.floats("d_x1", n * spec().hidden_size) : kNoBuffer;
  linear_backward(layer, {{kQ, kK, kV}, {dq, dk, dv}}, x1, block, d_x1);
  if (below_block) norm_backward(layer, d_x1, block.h_in, weights.input_norm, d_hidden);
  return d_hidden;
}

}  // namespace evolora
