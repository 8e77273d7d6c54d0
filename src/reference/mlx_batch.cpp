// Segments side by side -> rows of one width.
#include "reference/mlx_batch.h"

#include <algorithm>

#include "base/check.h"

namespace evolora {
namespace {

constexpr std::int64_t kWidthMultiple = 32;  // mlx_lm/tuner/trainer.py, iterate_batches

std::int64_t rounded_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

}  // namespace

MlxBatch make_mlx_batch(const Batch& batch, MlxHeadLoss head_loss, std::int64_t max_tokens, std::int64_t pad_supervised_rows) {
  CHECK(batch.shared_tokens == 0);
  const std::int64_t rows = batch.segment_count();
  std::int64_t longest = 1;
  for (std::size_t s = 0; s < static_cast<std::size_t>(rows); ++s) {
    longest = std::max<std::int64_t>(longest, batch.segment_starts[s + 1] - batch.segment_starts[s]);
  }
  std::int64_t width = rounded_up(longest, kWidthMultiple);
  if (max_tokens > 0) width = std::max(longest, std::min(width, max_tokens));

  const auto cells = static_cast<std::size_t>(rows * width);
  std::vector<std::int32_t> tokens(cells, 0);
  std::vector<std::int32_t> place_of(batch.tokens.size());  // index in (B * T) of every token of the batch
  for (std::size_t s = 0; s < static_cast<std::size_t>(rows); ++s) {
    for (std::int32_t i = batch.segment_starts[s]; i < batch.segment_starts[s + 1]; ++i) {
      const std::int64_t place = static_cast<std::int64_t>(s) * width + (i - batch.segment_starts[s]);
      tokens[static_cast<std::size_t>(place)] = batch.tokens[static_cast<std::size_t>(i)];
      place_of[static_cast<std::size_t>(i)] = checked_cast<std::int32_t>(place);
    }
  }
  const mx::Shape shape = mlx_shape({rows, width});
  MlxBatch out{mlx_ints(tokens, shape), {}};

  if (head_loss == MlxHeadLoss::kOptimized) {
    const std::int64_t supervised = batch.supervised_count();
    const auto padded = static_cast<std::size_t>(rounded_up(supervised, std::max<std::int64_t>(1, pad_supervised_rows)));
    std::vector<std::int32_t> loss_rows(padded, 0);
    std::vector<std::int32_t> targets(padded, 0);
    std::vector<float> weights(padded, 0.0F);
    for (std::size_t i = 0; i < static_cast<std::size_t>(supervised); ++i) {
      loss_rows[i] = place_of[static_cast<std::size_t>(batch.loss_rows[i])];
      targets[i] = batch.targets[i];
      weights[i] = 1.0F;
    }
    const mx::Shape list = mlx_shape({static_cast<std::int64_t>(padded)});
    out.loss = {mlx_ints(loss_rows, list), mlx_ints(targets, list), mlx_floats(weights.data(), list)};
    return out;
  }
  std::vector<std::int32_t> targets(cells, 0);
  std::vector<std::int32_t> mask(cells, 0);
  for (std::size_t i = 0; i < batch.loss_rows.size(); ++i) {
    const auto place = static_cast<std::size_t>(place_of[static_cast<std::size_t>(batch.loss_rows[i])]);
    targets[place] = batch.targets[i];
    mask[place] = 1;
  }
  out.loss = {mlx_ints(targets, shape), mx::astype(mlx_ints(mask, shape), mx::bool_)};
  return out;
}

}  // namespace evolora
