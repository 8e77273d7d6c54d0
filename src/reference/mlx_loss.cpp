// Cross-entropy as mlx.nn.losses has it, whole and in chunks.
#include "reference/mlx_loss.h"

#include <algorithm>

namespace evolora {
namespace {

using Arrays = std::vector<mx::array>;

// Per position, in the type of the logits. On GPUs mlx.nn uses one fused function, on CPUs these operations.
mx::array cross_entropy(const mx::array& logits, const mx::array& targets) {
  if (mx::default_device() == mx::Device::gpu) return mx::astype(mx::fast::cross_entropy(logits, targets), logits.dtype());
  const mx::array shifted = mx::subtract(logits, mx::stop_gradient(mx::max(logits, -1, true)));
  const mx::array score = mx::squeeze(mx::take_along_axis(shifted, mx::expand_dims(targets, -1), -1), -1);
  return mx::subtract(mx::logsumexp(shifted, -1), score);
}

mx::array rows_between(const mx::array& values, std::int64_t begin, std::int64_t end) {
  mx::Shape start(values.ndim(), 0);
  mx::Shape stop = values.shape();
  start[0] = mlx_dim(begin);
  stop[0] = mlx_dim(end);
  return mx::slice(values, start, stop);
}

// {sum of cross-entropy, its gradient to every row} of supervised rows, chunk after chunk.
Arrays loss_and_gradient(const mx::array& rows, const MlxModel& model, const mx::array& targets, const mx::array& weights,
                         std::int64_t rows_per_chunk) {
  const std::int64_t count = rows.shape(0);
  mx::array total = mx::array(0.0F);
  Arrays gradients;
  for (std::int64_t begin = 0; begin < count; begin += rows_per_chunk) {
    const std::int64_t end = std::min(count, begin + rows_per_chunk);
    mx::array chunk = rows_between(rows, begin, end);
    if (!gradients.empty()) chunk = mx::depends({chunk}, {gradients.back()})[0];
    const mx::array chunk_targets = rows_between(targets, begin, end);
    const mx::array chunk_weights = rows_between(weights, begin, end);
    const auto loss = [&](const Arrays& in) -> Arrays {
      const mx::array ce = cross_entropy(times_transposed(in[0], model.head), chunk_targets);
      return {mx::sum(mx::multiply(mx::astype(ce, mx::float32), chunk_weights))};
    };
    auto [value, gradient] = mx::vjp(loss, Arrays{chunk}, Arrays{mx::array(1.0F)});
    total = mx::add(total, value[0]);
    gradients.push_back(gradient[0]);
  }
  return {total, gradients.size() == 1 ? gradients[0] : mx::concatenate(gradients, 0)};
}

}  // namespace

std::int64_t default_rows_per_chunk(std::int64_t vocab_size) {
  constexpr std::int64_t kLogitElements = 64 << 20;
  constexpr std::int64_t kMultiple = 32;
  return std::max<std::int64_t>(kMultiple, kLogitElements / vocab_size / kMultiple * kMultiple);
}

mx::array standard_loss_sum(const mx::array& hidden, const MlxModel& model, const mx::array& targets, const mx::array& mask) {
  const mx::array logits = times_transposed(mx::fast::rms_norm(hidden, model.final_norm, model.spec.rms_norm_eps), model.head);
  const mx::array ce = mx::multiply(cross_entropy(logits, targets), mask);
  return mx::sum(mx::astype(ce, mx::float32));
}

mx::array chunked_loss_sum(const mx::array& hidden, const MlxModel& model, const mx::array& rows, const mx::array& targets, const mx::array& weights,
                           std::int64_t rows_per_chunk) {
  const mx::array chosen = mx::take(mx::reshape(hidden, {-1, hidden.shape(-1)}), rows, 0);
  const mx::array normed = mx::fast::rms_norm(chosen, model.final_norm, model.spec.rms_norm_eps);
  // Targets and weights go in as arguments: MLX may trace the function again with other arrays in their place.
  const auto forward = [model, rows_per_chunk](const Arrays& in) { return loss_and_gradient(in[0], model, in[1], in[2], rows_per_chunk); };
  const auto backward = [](const Arrays& in, const Arrays& cotangents, const Arrays& outputs) -> Arrays {
    const mx::array scale = mx::astype(cotangents[0], outputs[1].dtype());
    return {mx::multiply(outputs[1], scale), mx::zeros_like(in[1]), mx::zeros_like(in[2])};
  };
  return mx::custom_vjp(forward, backward)({normed, targets, weights})[0];
}

}  // namespace evolora
