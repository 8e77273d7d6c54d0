// Puts blocks together: which are saved, which recomputed, and where the backward pass ends.
#include "engine/step_program.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace evolora {
namespace {

constexpr std::int64_t kLogitsBytes = 40 << 20;
constexpr std::int64_t kRowTile = 8;

// Emits the head over `n` rows of the stream, all tokens or the supervised ones; d_hidden kNoBuffer: loss only.
void emit_head_loss(ProgramBuilder& builder, const ProgramInputs& inputs, std::int64_t n, BufferId hidden, BufferId d_hidden) {
  const ModelSpec& spec = inputs.weights.spec();
  std::vector<std::int32_t> all_rows;  // empty: the batch's loss_rows
  if (inputs.supervised_rows_only) {
    all_rows.resize(static_cast<std::size_t>(n));
    std::iota(all_rows.begin(), all_rows.end(), 0);
  }
  const auto arguments = [hidden, d_hidden, n, all_rows, m = inputs.batch.supervised_count(), d = spec.hidden_size,
                          norm_weight = inputs.weights.final_norm(), eps = spec.rms_norm_eps, head = inputs.weights.head(),
                          forward = head_arithmetic(inputs.weights.head(), inputs.recipe.forward_arithmetic),
                          backward = head_arithmetic(inputs.weights.head(), inputs.recipe.backward_arithmetic),
                          chunk = head_rows_per_chunk(inputs.recipe, spec)](const RunContext& run) {
    return HeadLoss{.hidden = run.f32(hidden),
                    .n = n,
                    .d = d,
                    .norm_weight = norm_weight,
                    .eps = eps,
                    .head = head,
                    .rows = all_rows.empty() ? run.bindings().batch->loss_rows.data() : all_rows.data(),
                    .targets = run.bindings().batch->targets.data(),
                    .m = m,
                    .loss_scale = run.bindings().loss_scale,
                    .chunk_rows = std::min(chunk, m),
                    .d_hidden = run.f32(d_hidden),
                    .row_losses = nullptr,
                    .loss_sum = run.bindings().loss_sum,
                    .forward = forward,
                    .backward = backward};
  };
  const std::size_t workspace = inputs.kernels.head_loss_workspace_bytes(arguments(RunContext::planning(inputs.planning_bindings)), inputs.threads);
  builder.call(
      Slot::kHeadLoss, d_hidden == kNoBuffer ? Pass::kForward : Pass::kBackward, -1, {hidden, d_hidden}, workspace,
      [arguments, release = inputs.recipe.release_weights, kernel = inputs.kernels.head_loss](const RunContext& run, KernelContext& context) {
        const HeadLoss args = arguments(run);
        kernel(args, context);
        if (release) release_weight(args.head);
      });
}

// Blocks [begin, end) without a backward pass.
ResidualStream emit_blocks(LayerProgram& layers, ResidualStream stream, std::int64_t begin, std::int64_t end) {
  for (std::int64_t layer = begin; layer < end; ++layer) stream = layers.forward(layer, stream, false).stream;
  return stream;
}

// The stream entering the first adapted block.
ResidualStream emit_prefix(LayerProgram& layers, const ProgramInputs& inputs, std::int64_t first) {
  if (inputs.prefix == PrefixUse::kLoad) return layers.load_prefix();
  const ResidualStream stream = emit_blocks(layers, layers.embed(), 0, first);
  if (inputs.prefix == PrefixUse::kCompute) return stream;
  const BufferId hidden = layers.materialize(stream);
  layers.store_prefix(hidden);
  return {.base = hidden};
}

}  // namespace

std::int64_t head_rows_per_chunk(const Recipe& recipe, const ModelSpec& spec) {
  if (recipe.head_rows_per_chunk > 0) return recipe.head_rows_per_chunk;
  const std::int64_t rows = kLogitsBytes / (spec.vocab_size * static_cast<std::int64_t>(sizeof(float)));
  return std::clamp(rows / kRowTile * kRowTile, 4 * kRowTile, 64 * kRowTile);
}

bool shares_prefixes(const Recipe& recipe, const AdapterSet& adapters) { return recipe.share_prefixes && !adapters.has_dropout(); }

std::vector<AttentionSegment> training_segments(const Batch& batch) {
  std::vector<AttentionSegment> segments;
  for (std::int64_t s = 0; s < batch.segment_count(); ++s) {
    segments.push_back({.q_start = batch.segment_starts[static_cast<std::size_t>(s)],
                        .q_length = batch.own_tokens(s),
                        .kv_start = batch.key_start(s),
                        .kv_length = batch.tokens_before(s) + batch.own_tokens(s)});
  }
  return segments;
}

Program build_training_program(const ProgramInputs& inputs) {
  ProgramBuilder builder;
  LayerProgram layers(builder, inputs);
  const std::int64_t count = inputs.weights.spec().num_layers;
  const std::int64_t first = inputs.adapters->first_layer();

  ResidualStream stream = emit_prefix(layers, inputs, first);
  std::vector<BlockBuffers> saved;
  for (std::int64_t layer = first; layer < count; ++layer) {
    const LayerProgram::Forward block = layers.forward(layer, stream, true);
    saved.push_back(block.saved);
    stream = block.stream;
  }
  const BufferId hidden = layers.materialize(stream);
  BufferId d_hidden = builder.floats("d_hidden", layers.rows() * inputs.weights.spec().hidden_size);
  emit_head_loss(builder, inputs, layers.rows(), hidden, d_hidden);
  for (std::int64_t layer = count - 1; layer >= first; --layer) {
    d_hidden = layers.backward(layer, saved[static_cast<std::size_t>(layer - first)], d_hidden, layer == first);
  }
  return builder.finish();
}

Program build_loss_program(const ProgramInputs& inputs) {
  ProgramBuilder builder;
  LayerProgram layers(builder, inputs);
  const std::int64_t first = inputs.adapters->first_layer();
  ResidualStream stream = emit_prefix(layers, inputs, first);
  stream = emit_blocks(layers, stream, first, inputs.weights.spec().num_layers);
  const BufferId hidden = layers.materialize(stream);
  emit_head_loss(builder, inputs, layers.rows(), hidden, kNoBuffer);
  return builder.finish();
}

Program build_logits_program(const ProgramInputs& inputs, std::int64_t row_count) {
  ProgramBuilder builder;
  LayerProgram layers(builder, inputs);
  const ModelSpec& spec = inputs.weights.spec();
  const ResidualStream stream = emit_blocks(layers, layers.embed(), 0, spec.num_layers);
  const BufferId hidden = layers.materialize(stream);
  const auto arguments = [hidden, row_count, d = spec.hidden_size, norm_weight = inputs.weights.final_norm(), eps = spec.rms_norm_eps,
                          head = inputs.weights.head()](const RunContext& run) {
    return HeadLogits{.hidden = run.f32(hidden),
                      .d = d,
                      .norm_weight = norm_weight,
                      .eps = eps,
                      .head = head,
                      .rows = run.bindings().logits_rows.data(),
                      .m = row_count,
                      .logits = run.bindings().logits};
  };
  const std::size_t workspace = inputs.kernels.head_logits_workspace_bytes(arguments(RunContext::planning(inputs.planning_bindings)), inputs.threads);
  builder.call(Slot::kHeadLoss, Pass::kForward, -1, {hidden}, workspace,
               [arguments, kernel = inputs.kernels.head_logits](const RunContext& run, KernelContext& context) { kernel(arguments(run), context); });
  return builder.finish();
}

}  // namespace evolora
